"""Hand-written kernels, a folder for each kind of device."""
