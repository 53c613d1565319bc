"""Making layers and images: trees compared, archives written, documents changed."""
