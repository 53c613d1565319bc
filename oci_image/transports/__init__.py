"""Places that images come from and go to: layouts, archives, directories and registries."""
