"""Definitions and imports of source files, one line a case."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.symbols import Definition, Import, definitions, imports


@pytest.mark.parametrize(
    ("language", "text", "name", "signature"),
    [
        (
            "python",
            "def f(a: int, *, b=1) -> str:\n    return a\n",
            "f",
            "def f(a: int, *, b=1) -> str: ...",
        ),
        ("python", "async def f():\n    pass\n", "f", "async def f(): ..."),
        ("python", "@cache\ndef f(a):\n    return a\n", "f", "@cache\ndef f(a): ..."),
        ("python", "LIMIT: int = 3\n", "LIMIT", "LIMIT: int = 3"),
        ("python", "class A(B):\n    pass\n", "A", "class A(B): ..."),
        (
            "python",
            "@dataclass\nclass P:\n    x: int\n    _y: int = 0\n\n"
            "    def move(self, dx):\n        pass\n"
            "    def _hide(self):\n        pass\n",
            "P",
            "@dataclass\nclass P:\n    x: int\n    def move(self, dx): ...",
        ),
        ("javascript", "function f(a, b = 1) { return a }\n", "f", "function f(a, b = 1) { ... }"),
        ("javascript", "export const f = (a) => {\n return a }\n", "f", "const f = (a) => ..."),
        ("typescript", "export interface P { x: number }\n", "P", "interface P {\nx: number\n}"),
        ("typescript", "type A = string | number;\n", "A", "type A = string | number;"),
        (
            "tsx",
            "export class S {\n  sell(i: Item): void { f() }\n}\n",
            "S",
            "class S {\n  sell(i: Item): void { ... }\n}",
        ),
        (
            "go",
            "func (s *S) Sell(n int) error {\n\treturn nil\n}\n",
            "Sell",
            "func (s *S) Sell(n int) error { ... }",
        ),
        ("go", "type P struct {\n\tX int\n}\n", "P", "type P struct {\n\tX int\n}"),
        ("rust", "pub fn f(a: i32) -> i32 { a }\n", "f", "pub fn f(a: i32) -> i32 { ... }"),
        ("rust", "impl S {\n    fn g(&self) {}\n}\n", "S", "impl S {\n    fn g(&self) { ... }\n}"),
        ("java", "class S {\n  int n() { return 1; }\n}\n", "S", "class S {\n  int n() { ... }\n}"),
    ],
)
def test_signatures(language: str, text: str, name: str, signature: str) -> None:
    assert definitions(language, text) == (Definition(name, signature),)


def test_broken_code_defines_what_can_be_made_out() -> None:
    text = "def before(a):\n    return a\n\ndef broken(a, b\n\nclass After:\n    x = 1\n"
    assert definitions("python", text)[0].name == "before"


def test_no_grammar_no_definitions() -> None:
    assert definitions("klingon", "def f(): pass") == ()


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("python", "from .a.b import (x,  # why\n  y as z,\n)\n", [Import(".a.b", ("x", "y"))]),
        ("python", "import os, a.b as c\n", [Import("os", ("*",)), Import("a.b", ("*",))]),
        ("python", "if T:\n    from m import *\n", [Import("m", ("*",))]),
        ("python", "from . import q\n", [Import(".", ("q",))]),
        (
            "typescript",
            'import d, { a, b as c, type T } from "./x";\n',
            [Import("./x", ("d", "a", "b", "T"))],
        ),
        ("typescript", 'import * as n from "../y";\n', [Import("../y", ("*",))]),
        ("typescript", 'import react from "react";\n', []),
        ("javascript", 'const { p, q: w } = require("./z");\n', [Import("./z", ("p", "q"))]),
        ("java", "import a.b.C;\n", []),
    ],
)
def test_imports(language: str, text: str, expected: list[Import]) -> None:
    assert list(imports(language, text)) == expected


@given(
    st.sampled_from(["python", "typescript", "go", "rust", "java"]),
    st.lists(
        st.sampled_from(
            [
                "def f(",
                "class A:\n",
                "{",
                "}",
                "\n",
                "é😀",
                "import ",
                "from . ",
                "func x",
                "fn ",
                "@",
                "=",
            ]
        ),
        max_size=12,
    ).map("".join),
)
def test_any_text_is_accepted(language: str, text: str) -> None:
    for definition in definitions(language, text):
        assert definition.name
        assert definition.text
    imports(language, text)
