"""The validation programs of the OCI runtime-tools, run over any runtime with runc's command line."""
