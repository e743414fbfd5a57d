"""Languages by name, and their tree-sitter grammars. Knows nothing of cursors or holes."""

import functools
import importlib
from pathlib import PurePosixPath
from typing import NamedTuple

from tree_sitter import Language, Parser, Tree


class _Grammar(NamedTuple):
    module: str
    function: str


_GRAMMARS = {
    "python": _Grammar("tree_sitter_python", "language"),
    "javascript": _Grammar("tree_sitter_javascript", "language"),
    "typescript": _Grammar("tree_sitter_typescript", "language_typescript"),
    "tsx": _Grammar("tree_sitter_typescript", "language_tsx"),
    "go": _Grammar("tree_sitter_go", "language"),
    "rust": _Grammar("tree_sitter_rust", "language"),
    "java": _Grammar("tree_sitter_java", "language"),
}
_LANGUAGE_IDS = {
    "javascriptreact": "javascript",
    "javascript.jsx": "javascript",
    "typescriptreact": "tsx",
    "typescript.tsx": "tsx",
}
_SUFFIXES = {
    **dict.fromkeys((".py", ".pyi", ".pyw"), "python"),
    **dict.fromkeys((".js", ".jsx", ".mjs", ".cjs"), "javascript"),
    **dict.fromkeys((".ts", ".mts", ".cts"), "typescript"),
    ".tsx": "tsx",
    ".go": "go",
    ".rs": "rust",
    ".java": "java",
}


def language_of(path_or_language_id: str) -> str:
    """Our name for a language, from an editor's language id or a file name; unknown is `text`."""
    name = path_or_language_id.lower()
    name = _LANGUAGE_IDS.get(name, name)
    if name in _GRAMMARS:
        return name
    return _SUFFIXES.get(PurePosixPath(name.replace("\\", "/")).suffix, "text")


def parse(language: str, text: bytes) -> Tree | None:
    """The syntax tree of UTF-8 text; None if there is no grammar."""
    grammar = _load(language)
    return None if grammar is None else Parser(grammar).parse(text)


def num_errors(tree: Tree) -> int:
    """ERROR and MISSING nodes of a tree, and what is missing without having a node.

    The grammar's hidden symbols (Python's end of a line) show no node; where one is missing, a node
    has an error and none of its children has.
    """
    count, nodes = 0, [tree.root_node]
    while nodes:
        node = nodes.pop()
        wrong = [child for child in node.children if child.has_error]
        count += node.is_error or node.is_missing or (node.has_error and not wrong)
        nodes += wrong
    return count


@functools.cache
def _load(language: str) -> Language | None:
    """Grammars are imported when a document first needs them."""
    grammar = _GRAMMARS.get(language)
    if grammar is None:
        return None
    module = importlib.import_module(grammar.module)
    return Language(getattr(module, grammar.function)())
