"""The language server: the only place that knows LSP. Never loads torch."""

__version__ = "0.1.0"
