"""The sampler on a GPU: state on the device, steps as captured graphs (docs/gpu.md)."""
