"""Measures quality and speed of the shipped model, of its modes and of its rivals."""
