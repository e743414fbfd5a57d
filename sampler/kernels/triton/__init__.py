"""Triton kernels for a GPU, one a file, each beside a plain-torch twin of the same signature."""
