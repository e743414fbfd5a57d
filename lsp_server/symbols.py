"""What a source file defines and imports: names, and signatures as they stand in its text.

Pure: text in, records out, by tree-sitter; broken code yields what can be made out. Knows neither
where files are nor which of their names matter.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tree_sitter import Node

from model.format.grammars import language_of, parse

MAX_BYTES = 256 * 1024
"""Longer texts define nothing here: parsing them would hold up the work for others."""


@dataclass(frozen=True)
class Definition:
    """A name that a file defines at its top level, with its signature and those of its members."""

    name: str
    text: str


@dataclass(frozen=True)
class Import:
    """A module as the importing file writes it; `names` are those taken from it, `*` for all."""

    module: str
    names: tuple[str, ...]


_CALLABLES = {
    *("function_definition", "function_declaration", "generator_function_declaration"),
    *("method_definition", "method_declaration", "constructor_declaration", "function_item"),
}
_CONTAINERS = {
    *("class_definition", "class_declaration", "abstract_class_declaration", "trait_item"),
    *("impl_item", "interface_declaration", "record_declaration", "interface_body"),
}
_WHOLE = {
    *("type_alias_declaration", "enum_declaration", "type_declaration", "const_declaration"),
    *("struct_item", "enum_item", "type_item", "const_item", "function_signature_item"),
    *("public_field_definition", "field_definition", "field_declaration", "var_declaration"),
    *("method_signature", "property_signature", "abstract_method_signature"),
}
_WRAPPERS = {"decorated_definition": "definition", "export_statement": "declaration"}
_MAX_WHOLE_LINES = 12
_MAX_WHOLE_CHARS = 600
_MAX_MEMBERS = 24
_MAX_DECORATORS_CHARS = 60

_PYTHON_FROM = re.compile(
    r"^[ \t]*from[ \t]+(?P<module>\.*[\w.]*)[ \t]+import[ \t]+(?P<names>\([^)]*\)|[^\n#;]+)",
    re.MULTILINE,
)
_PYTHON_IMPORT = re.compile(r"^[ \t]*import[ \t]+(?P<modules>[\w., \t]+)", re.MULTILINE)
_SCRIPT_IMPORT = re.compile(
    r"\b(?:import|export)\s+(?:type\s+)?(?P<names>[\w*{}$,\s]+?)\s+from\s*['\"](?P<module>\.[^'\"]*)"
)
_SCRIPT_REQUIRE = re.compile(
    r"\b(?:const|let|var)\s+(?P<names>[\w{}$,:\s]+?)\s*=\s*require\(\s*['\"](?P<module>\.[^'\"]*)"
)


def definitions(language: str, text: str) -> tuple[Definition, ...]:
    """What a text defines at its top level, in its order; nothing without a grammar."""
    source = text.encode(errors="replace")
    tree = parse(language_of(language), source) if len(source) <= MAX_BYTES else None
    if tree is None:
        return ()
    is_python = language_of(language) == "python"
    found = (_define(node, source, is_python) for node in tree.root_node.named_children)
    return tuple(definition for definition in found if definition is not None)


def imports(language: str, text: str) -> tuple[Import, ...]:
    """The modules that a text imports, in its order; of Python and JavaScript with its kin.

    The latter only where they name a file (`./x`): packages are not part of the workspace.
    """
    match language_of(language):
        case "python":
            return tuple(_python_imports(text))
        case "javascript" | "typescript" | "tsx":
            matches = [*_SCRIPT_IMPORT.finditer(text), *_SCRIPT_REQUIRE.finditer(text)]
            matches.sort(key=lambda match: match.start())
            return tuple(
                Import(match["module"], tuple(_local_names(match["names"]))) for match in matches
            )
        case _:
            return ()


def _python_imports(text: str) -> Iterator[Import]:
    matches = [*_PYTHON_FROM.finditer(text), *_PYTHON_IMPORT.finditer(text)]
    for match in sorted(matches, key=lambda match: match.start()):
        if match.re is _PYTHON_FROM:
            without_comments = re.sub(r"#[^\n]*", "", match["names"])
            parts = without_comments.strip("() \t\r\n\\").split(",")
            names = (part.split()[0] for part in parts if part.split())
            yield Import(match["module"], tuple(names))
        else:
            for part in match["modules"].split(","):
                if part.split():
                    yield Import(part.split()[0], ("*",))


def _local_names(clause: str) -> Iterator[str]:
    """The names in the file that is imported, of `a, { b, c as d }`."""
    if "*" in clause:
        yield "*"
    for part in re.split(r"[{},]", clause):
        words = re.split(r"[\s:]+", part.strip())
        if words[0] and words[0] != "*":
            yield words[1] if words[0] == "type" and len(words) > 1 else words[0]


def _define(node: Node, source: bytes, is_python: bool) -> Definition | None:
    """The definition that a statement is, if it is one."""
    if node.type in _WRAPPERS:
        inner = node.child_by_field_name(_WRAPPERS[node.type])
        found = _define(inner, source, is_python) if inner else None
        decorators = source[node.start_byte : inner.start_byte].decode() if inner else ""
        is_short = is_python and len(decorators) <= _MAX_DECORATORS_CHARS
        return replace(found, text=decorators + found.text) if found and is_short else found
    if node.type in ("lexical_declaration", "variable_declaration"):
        declared = next((c for c in node.named_children if c.type == "variable_declarator"), None)
        return _declare(declared, source) if declared else None
    if node.type == "expression_statement":
        return _assign(node, source) if is_python else None
    signature = _signature(node, source, is_python)
    name = _name(node)
    return Definition(_text(name, source), signature) if signature and name else None


def _name(node: Node) -> Node | None:
    name = node.child_by_field_name("name") or node.child_by_field_name("type")
    if name is None and node.type in ("type_declaration", "const_declaration", "var_declaration"):
        spec = next(iter(node.named_children), None)  # Go
        name = spec.child_by_field_name("name") if spec else None
    return name


def _signature(node: Node, source: bytes, is_python: bool) -> str | None:
    text = _indentation(node, source) + _text(node, source)
    if node.type in _WHOLE:
        is_short = len(text) <= _MAX_WHOLE_CHARS and text.count("\n") < _MAX_WHOLE_LINES
        return text if is_short else text.partition("\n")[0]
    body = node.child_by_field_name("body")
    if node.type in _CALLABLES:
        if body is None:
            return text
        head = _head(node, body, source)
        return f"{head} ..." if is_python else f"{head} {{ ... }}"
    if node.type in _CONTAINERS and body is not None:
        members = [_head(node, body, source) + ("" if is_python else " {")]
        for child in body.named_children:
            if len(members) > _MAX_MEMBERS:
                break
            members += _member(child, source, is_python)
        if len(members) == 1 and is_python:
            return members[0] + " ..."
        return "\n".join(members if is_python else [*members, _indentation(node, source) + "}"])
    return None


def _member(node: Node, source: bytes, is_python: bool) -> list[str]:
    """A member's signature; none for a private one, but for what makes an object."""
    if node.type in _WRAPPERS:
        inner = node.child_by_field_name(_WRAPPERS[node.type])
        return _member(inner, source, is_python) if inner else []
    if node.type == "expression_statement":
        assigned = _assign(node, source)
        is_kept = assigned is not None and not assigned.name.startswith("_")
        return [_indentation(node, source) + assigned.text] if assigned and is_kept else []
    signature = _signature(node, source, is_python)
    name = _name(node)
    is_private = name is not None and _text(name, source).startswith("_")
    is_maker = name is not None and _text(name, source) in ("__init__", "__new__")
    return [signature] if signature and (is_maker or not is_private) else []


def _assign(node: Node, source: bytes) -> Definition | None:
    """A Python assignment or declaration of one name on one line."""
    inner = next(iter(node.named_children), None)
    left = inner.child_by_field_name("left") if inner and inner.type == "assignment" else None
    if inner is None or left is None or left.type != "identifier":
        return None
    text = _text(inner, source)
    return None if "\n" in text or len(text) > 100 else Definition(_text(left, source), text)


def _declare(node: Node, source: bytes) -> Definition | None:
    """`const name = (a, b) => …` and other constants of JavaScript and its kin."""
    name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
    if name is None or name.type != "identifier":
        return None
    body = value.child_by_field_name("body") if value is not None else None
    if body is not None:
        return Definition(_text(name, source), f"const {_head(node, body, source)} ...")
    text = "const " + _text(node, source)
    return None if "\n" in text or len(text) > 100 else Definition(_text(name, source), text)


def _head(node: Node, body: Node, source: bytes) -> str:
    head = source[node.start_byte : body.start_byte].decode(errors="replace")
    return _indentation(node, source) + head.rstrip().removesuffix("{").rstrip()


def _indentation(node: Node, source: bytes) -> str:
    """The blanks before a node that begins its line."""
    start = source.rfind(b"\n", 0, node.start_byte) + 1
    before = source[start : node.start_byte].decode(errors="replace")
    return before if not before.strip() else ""


def _text(node: Node, source: bytes) -> str:
    return source[node.start_byte : node.end_byte].decode(errors="replace")
