"""Files of the workspace that a document imports: found by name, read within bounds.

Only regular UTF-8 files of moderate size inside the workspace's folders are read, and none that an
exclusion names. Blocks on the disk: to be called from a worker thread. Knows neither LSP nor what
the texts are used for.
"""

import os
import stat
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lsp_server.exclusions import Exclusions
from lsp_server.symbols import Definition, Import, definitions
from model.format.grammars import language_of

MAX_BYTES = 256 * 1024
MAX_MODULES = 16
"""Imports of one document that are looked up."""
_MAX_KNOWN = 64
_MAX_FOLDERS = 8
"""Folders above a document in which a Python package may begin."""
_SCRIPT_SUFFIXES = (".ts", ".tsx", ".d.ts", ".js", ".jsx", ".mjs")


@dataclass(frozen=True)
class _Known:
    stamp: tuple[int, int]
    text: str
    definitions: tuple[Definition, ...]


class Workspace:
    """Reads files; what was read is kept until the file changes."""

    def __init__(self, exclusions: Exclusions) -> None:
        self.exclusions = exclusions
        self._known: OrderedDict[Path, _Known] = OrderedDict()

    def text(self, path: Path) -> str | None:
        """The text of a file; None if it must not or cannot be read."""
        known = self._read(path)
        return known.text if known else None

    def definitions(self, path: Path) -> tuple[Definition, ...]:
        """What a file defines."""
        known = self._read(path)
        return known.definitions if known else ()

    def resolve(
        self, document: Path, language: str, imports: Sequence[Import]
    ) -> list[tuple[Path, frozenset[str]]]:
        """The files that a document imports, and the names that it takes from each."""
        found: dict[Path, frozenset[str]] = {}
        for one in imports:
            for path, names in self._candidates(document, language, one):
                found[path] = found.get(path, frozenset()) | names
                if len(found) == MAX_MODULES:
                    return list(found.items())
        return list(found.items())

    def _candidates(
        self, document: Path, language: str, one: Import
    ) -> Iterator[tuple[Path, frozenset[str]]]:
        names = frozenset(one.names)
        if language_of(language) != "python":
            base = Path(os.path.normpath(document.parent / one.module))
            options = [base, *(base.with_name(base.name + end) for end in _SCRIPT_SUFFIXES)]
            options += [base / f"index{end}" for end in _SCRIPT_SUFFIXES]
            if base.suffix == ".js":
                options.append(base.with_suffix(".ts"))
            path = next(filter(self._is_file, options), None)
            if path is not None:
                yield path, names
            return
        module = one.module.lstrip(".")
        num_dots = len(one.module) - len(module)
        parts = module.split(".") if module else []
        for root in self._python_roots(document, num_dots):
            base = root.joinpath(*parts)
            is_found = False
            for name in one.names:  # each may be a module itself
                path = base / f"{name}.py"
                if name != "*" and self._is_file(path):
                    is_found = True
                    yield path, frozenset("*")
            if parts:
                for path in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
                    if self._is_file(path):
                        yield path, names
                        return
            if is_found:
                return

    def _python_roots(self, document: Path, num_dots: int) -> Iterator[Path]:
        parents = list(document.parents)
        if num_dots > 0:
            yield from parents[num_dots - 1 : num_dots]
            return
        folder = self.exclusions.folder_of(document)
        for parent in parents[:_MAX_FOLDERS]:
            if folder is None or not parent.is_relative_to(folder):
                return
            yield parent
            yield parent / "src"

    def _is_file(self, path: Path) -> bool:
        try:
            return path.is_file() and self.exclusions.is_inside(path)
        except (OSError, ValueError):
            return False

    def _read(self, path: Path) -> _Known | None:
        try:
            if not self.exclusions.is_inside(path) or self.exclusions.reason(path) is not None:
                return None
            # Non-blocking: a named pipe would hold up the worker until somebody writes into it.
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
                    return None
                stamp = (status.st_mtime_ns, status.st_size)
                known = self._known.get(path)
                if known is not None and known.stamp == stamp:
                    self._known.move_to_end(path)
                    return known
                content = file.read(MAX_BYTES)
            text = content.decode()
        except (OSError, ValueError):
            return None
        if "\0" in text:
            return None
        text = text.replace("\r\n", "\n")
        known = _Known(stamp, text, definitions(path.name, text))
        self._known[path] = known
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        return known
