"""Foundations: records, decoding, errors, JSON."""
