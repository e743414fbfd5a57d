"""`seed-lsp bench`: how fast it is on this machine, alone or against llama.cpp in the same run."""
