"""`python -m training.gpu`: the job, where what it imports is there."""

import sys
from importlib.util import find_spec

NEEDED = (
    "cattrs",
    "gguf",
    "numpy",
    "rapidfuzz",
    "safetensors",
    "tokenizers",
    "torch",
    "tree_sitter",
)

missing = [name for name in NEEDED if find_spec(name) is None]
if missing:
    sys.exit(f"This Python lacks {', '.join(missing)}; bring their wheels (docs/training.md).")

from training.gpu.job import main  # noqa: E402

main()
