"""Turns one request into committed blocks of text. Knows nothing of editors or LSP."""
