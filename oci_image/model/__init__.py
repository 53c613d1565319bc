"""Typed views of the documents an image consists of; no input or output happens here."""
