"""The state directory: which containers exist, and what is known of each."""
