"""Carries plans out: the executor, and what its parent does meanwhile."""
