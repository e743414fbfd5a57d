"""Code of the standard library for benches of edits: long functions with a wish each, and files.

Knows neither engines nor editors. The library is that of the interpreter, so its version counts.
"""

import ast
import importlib.util
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from model.format.rewriting import Action, is_offered
from model.format.selection import Selection, select
from model.format.syntax import parses


@dataclass(frozen=True)
class Case:
    """A function or class, and what is to be done to it."""

    module: str
    name: str
    instruction: str

    def selection(self) -> Selection:
        """The longest definition of that name."""
        spec = importlib.util.find_spec(self.module)
        assert spec is not None
        assert spec.origin is not None
        text = Path(spec.origin).read_text()
        found = [it for it in definitions(text) if it.name == self.name]
        longest = max(found, key=lambda it: it.end - it.start)
        selection = select("python", text, longest.start, longest.end)
        assert selection is not None
        return selection


_TYPES = "Add type hints to the parameters"
SMALL_EDITS = (
    Case("zipfile", "_EndRecData", "Rename the variable endrec to record"),
    Case("shutil", "_make_zipfile", "Rename base_name to base"),
    Case("csv", "has_header", _TYPES),
    Case("pkgutil", "walk_packages", _TYPES),
    Case("heapq", "nlargest", _TYPES),
    Case("random", "gammavariate", _TYPES),
    Case("shutil", "_make_zipfile", _TYPES),
    Case("quopri", "encode", _TYPES),
    Case("shutil", "copyfile", _TYPES),
)
"""55 to 64 lines each, of which the default model changes 1 to 15 %. What it
does is not always what it was asked for: this is about speed."""


class Definition(NamedTuple):
    """A function or class; places count characters."""

    name: str
    is_class: bool
    start: int
    end: int


def definitions(text: str) -> Iterator[Definition]:
    """All functions and classes of a Python text, by the interpreter's own parser."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            assert node.end_lineno is not None
            start, end = starts[node.lineno - 1], starts[node.end_lineno] - 1
            yield Definition(node.name, isinstance(node, ast.ClassDef), start, end)


_LEFT_OUT = ("encodings", "idlelib", "lib2to3", "site-packages", "turtledemo")


def library_files() -> list[Path]:
    """Files of the standard library that are sound Python in UTF-8 with `\\n`, by name."""
    folder = Path(sysconfig.get_path("stdlib"))
    found = []
    for path in sorted([*folder.glob("*.py"), *folder.glob("[a-z]*/*.py")]):
        if path.parent.name in _LEFT_OUT or "test" in path.parent.name:
            continue
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            continue
        if "\r" not in text and "\f" not in text and parses("python", text):
            found.append(path)
    return found


def one_place(text: str, action: Action, most_lines: int) -> Selection | None:
    """Of the functions that an action is offered for and that are not too long, the middle one."""
    found = []
    for it in definitions(text):
        if not it.is_class and 2 <= text.count("\n", it.start, it.end) < most_lines:
            selection = select("python", text, it.start, it.end)
            if selection is not None and is_offered(action, selection):
                found.append(selection)
    return found[len(found) // 2] if found else None
