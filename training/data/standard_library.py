"""The standard library of the running interpreter, as if it were one more package.

Its files are read, nothing is imported.
"""

import hashlib
import os
import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from training.data.source import Release

NAME = "cpython"
_SKIPPED_FOLDERS = frozenset({"__pycache__", "site-packages", "dist-packages", "ensurepip"})


def standard_library(folder: Path | None = None) -> tuple[Release, list[tuple[str, bytes]]]:
    """The release, and path and content of each Python file, sorted by path.

    Its sha256 is that of all paths and contents, since there is no archive.

    Args:
        folder: where the library is; None for the interpreter's own.
    """
    root = folder or Path(sysconfig.get_path("stdlib"))
    files = [(path.relative_to(root).as_posix(), path.read_bytes()) for path in _files(root)]
    files.sort()
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    version = platform.python_version()
    return Release(NAME, version, digest.hexdigest(), "PSF-2.0"), files


def _files(root: Path) -> Iterator[Path]:
    for place, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in _SKIPPED_FOLDERS]
        # `_sysconfigdata…` is written when the interpreter is built and tells about that machine.
        yield from (
            Path(place, name)
            for name in names
            if name.endswith(".py") and not name.startswith("_sysconfigdata")
        )
