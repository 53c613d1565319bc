"""Images prepared once and mounted many times."""
