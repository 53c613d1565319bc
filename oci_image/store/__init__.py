"""Where the bytes of images come from: the OCI image layout."""
