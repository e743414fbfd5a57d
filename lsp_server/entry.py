"""Where the command `seed-lsp` begins: our modules first, whatever PYTHONPATH says.

Editors hand on the environment of a person's project, and folders named `model` or `json` in its
PYTHONPATH must not become ours or the standard library's. What Python itself imports before this
module, and a package `lsp_server` there, cannot be helped; `python -I -m lsp_server` can.
"""

import os
import sys


def main() -> None:
    """Entry point of `seed-lsp` and of `python -m lsp_server`."""
    keep_python_path_last()
    from lsp_server.cli import main as run

    run()


def keep_python_path_last() -> None:
    """Look for modules in the folders of PYTHONPATH only if they are nowhere else."""
    if sys.flags.ignore_environment:
        return
    given = os.environ.get("PYTHONPATH")
    if given:
        folders = {os.path.abspath(folder) for folder in given.split(os.pathsep)}  # noqa: PTH100
        sys.path.sort(key=lambda folder: os.path.abspath(folder) in folders)  # noqa: PTH100
