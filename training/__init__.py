"""How the weights came to be. Imports sampler and model, never lsp_server."""
