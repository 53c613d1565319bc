"""Registries over HTTP: requests, credentials, and images in them.  Source: distribution-spec."""
