"""Judges OCI runtimes from the outside; imports neither of the two programs."""
