"""The hole planner over six languages: one line per place that a cursor can stand in."""

import functools
import statistics
import time
from pathlib import Path

import pytest

from model.format.grammars import language_of as grammars_language_of
from model.format.plan import HolePlan
from model.format.settle import settle
from model.format.syntax import language_of, num_syntax_errors, parses, plan_hole
from tests.unit.test_settle import BLOCKS, LINES, Case


@functools.cache
def plan_at(language: str, marked: str, max_lines: int = 12) -> HolePlan:
    prefix, suffix = marked.split("█")
    return plan_hole(language, prefix, suffix, max_lines=max_lines)


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("python", "python"),
        ("src/a.py", "python"),
        ("C:\\src\\A.PYI", "python"),
        ("javascript", "javascript"),
        ("javascriptreact", "javascript"),
        ("javascript.jsx", "javascript"),
        ("a.mjs", "javascript"),
        ("typescript", "typescript"),
        ("typescriptreact", "tsx"),
        ("typescript.tsx", "tsx"),
        ("a.test.tsx", "tsx"),
        ("a.d.ts", "typescript"),
        ("go", "go"),
        ("main.go", "go"),
        ("rust", "rust"),
        ("lib.rs", "rust"),
        ("java", "java"),
        ("A.java", "java"),
        ("text", "text"),
        ("plaintext", "text"),
        ("Makefile", "text"),
        (".py", "text"),
        ("", "text"),
    ],
)
def test_language_of(name: str, language: str) -> None:
    assert language_of(name) == language
    assert language_of(language) == language
    assert language_of is grammars_language_of


@pytest.mark.parametrize(
    ("language", "sound", "broken"),
    [
        ("python", "def f():\n    return 1\n", "def f(:\n    return 1\n"),
        ("javascript", "const a = <p>{x}</p>;\n", "const a = ;\n"),
        ("typescript", "const a: number = 1;\n", "const a: = 1;\n"),
        ("tsx", "const a = <p>{x as any}</p>;\n", "const a = <p>{x;\n"),
        ("go", "package a\n\nfunc f() {}\n", "package a\n\nfunc f( {}\n"),
        ("rust", "fn f<'a>(x: &'a str) {}\n", "fn f( {}\n"),
        ("java", "class A { int f() { return 1; } }\n", "class A { int f( { } }\n"),
    ],
)
def test_syntax_errors_are_counted(language: str, sound: str, broken: str) -> None:
    assert parses(language, sound) is True
    assert num_syntax_errors(language, sound) == 0
    assert parses(language, broken) is False
    assert num_syntax_errors(language, broken) != 0


def test_no_grammar_has_no_opinion() -> None:
    assert parses("text", "(") is None
    assert num_syntax_errors("cobol", "(") is None


@pytest.mark.parametrize(
    ("language", "marked", "kind", "max_lines"),
    [
        ("python", "foo(█)\n", "line", 1),
        ("python", "foo(█):\n", "line", 1),
        ("python", "x = [1, █]\n", "line", 1),
        ("python", "return {█}\n", "line", 1),
        ("python", "x = █\n", "line", 1),
        ("python", "x = a[1:█\n", "line", 1),
        ("python", "x = {a:█\n", "line", 1),
        ("python", "f = lambda:█\n", "line", 1),
        ("python", "a: █\n", "line", 1),
        ("python", "█x = 1\n", "line", 1),
        ("python", "if a:█\n", "block", 12),
        ("python", "if a:  █\n", "block", 12),
        ("python", "async def f(\n    a\n) -> int:█\n", "block", 12),
        ("python", "x = [█\n", "block", 12),
        ("python", "█", "block", 12),
        ("python", "a = 1\n\n█\n\nb = 2\n", "block", 12),
        ("python", "def f():\n    █  \n", "block", 12),
        ("python", 'x = "█"\n', "string", 1),
        ("python", "x = '█\n", "string", 1),
        ("python", 'x = f"{a} █"\n', "string", 1),
        ("python", 'x = ""█\n', "line", 1),
        ("python", 'x = "a" █\n', "line", 1),
        ("python", 'def f():\n    """A.\n    █\n    """\n', "string", 12),
        ("python", 'def f():\n    """A █\n    """\n', "string", 12),
        ("python", 'def f():\n    """█"""\n', "string", 1),
        ("python", "# a█\n", "comment", 1),
        ("python", "x = 1  # a (█\n", "comment", 1),
        ("python", "# a\n█\n", "block", 12),
        ("python", "x = '#█'\n", "string", 1),
        ("javascript", "function f() {█\n}\n", "block", 12),
        ("javascript", "function f() {█}\n", "line", 1),
        ("javascript", "const f = () => █;\n", "line", 1),
        ("javascript", "/* a █ */\n", "comment", 1),
        ("javascript", "/*\n█\n*/\n", "comment", 12),
        ("javascript", "/* a */ █\n", "line", 1),
        ("javascript", "// a█\nf()\n", "comment", 1),
        ("javascript", "const s = `a █ b`;\n", "string", 1),
        ("javascript", "const s = `a ${█} b`;\n", "line", 1),
        ("javascript", "const s = `\n█\n`;\n", "string", 12),
        ("javascript", "x = y / 2; // a 'b█\n", "comment", 1),
        ("javascript", "x = y.replace(/'/g, █);\n", "line", 1),
        ("typescript", "interface A {\n  █\n}\n", "block", 12),
        ("typescript", "let x: Array<█>;\n", "line", 1),
        ("tsx", "const a = <p>Don't █</p>;\n", "line", 1),
        ("tsx", "const a = <p>Don't {█}</p>;\n", "line", 1),
        ("tsx", "const a = (\n  <p>\n    █\n  </p>\n);\n", "block", 12),
        ("go", "func main() {\n\t█\n}\n", "block", 12),
        ("go", "x := `a\n█\n`\n", "string", 12),
        ("go", "x := '█'\n", "string", 1),
        ("rust", "fn f() {\n    match x {\n        █\n    }\n}\n", "block", 12),
        ("rust", "fn f<'a>(x: █) {}\n", "line", 1),
        ("rust", 'let s = r#"a "█"#;\n', "string", 1),
        ("rust", "/// A.\n█\nfn f() {}\n", "block", 12),
        ("rust", "/// A.█\nfn f() {}\n", "comment", 1),
        ("java", "class A {\n    int f() {\n        █\n    }\n}\n", "block", 12),
        ("java", 'String s = """\n    a █\n    """;\n', "string", 12),
        ("java", "/**\n * █\n */\nclass A {}\n", "comment", 12),
        ("text", "Don't █\n", "line", 1),
        ("text", "a\n█\n", "block", 12),
        ("text", "if (x) {█\n}\n", "block", 12),
    ],
)
def test_kind(language: str, marked: str, kind: str, max_lines: int) -> None:
    for line_break in ("\n", "\r\n", "\r"):
        plan = plan_at(language, marked.replace("\n", line_break))
        assert (plan.kind, plan.max_lines) == (kind, max_lines)
    one_line = plan_at(language, marked, max_lines=1)
    assert one_line.max_lines == 1
    assert one_line.kind == ("line" if kind == "block" else kind)


@pytest.mark.parametrize(
    ("language", "marked", "indent"),
    [
        # under an opener one level deeper, as the file has it
        ("python", "if a:█\n", "    "),
        ("python", "class A:\n  x = 1\n\n  def f(self):█\n", "    "),
        ("python", "class A:\n\tx = 1\n\n\tdef f(self):█\n", "\t\t"),
        ("python", "def f(\n        a,\n        b):█\n", "    "),
        ("python", "if a:█\n  b()\n", "  "),
        ("javascript", "function f() {█\n}\n", "  "),
        ("go", "func f() {█\n}\n", "\t"),
        ("rust", "fn f() {█\n}\n", "    "),
        ("java", "class A {\n    int f() {█\n    }\n}\n", "        "),
        # where someone has indented already, as there
        ("python", "def f():\n    █\n", "    "),
        ("python", "def f():\n  █\n", "  "),
        ("go", "func f() {\n\t█\n}\n", "\t"),
        # at the left edge like the neighbors
        ("python", "def f():\n    a = 1\n█\n    b = 2\n", "    "),
        ("python", "def f():\n█\n", "    "),
        ("python", "def f():\n█\n\ndef g():\n    pass\n", "    "),
        ("python", "for a in b:\n    c()\n█\n        d()\n", "        "),
        ("python", "def f():\n    return 1\n\n█\n\ndef g():\n", ""),
        ("python", "def f():\n    foo(a,\n        b)\n█\n    c()\n", "    "),
        ("javascript", "f(() => {\n█\n});\n", "  "),
        ("go", "func f() {\n█\n}\n", "\t"),
        ("go", "func f() {\n\tif x {\n\t\tg()\n\t}\n█\n}\n", "\t"),
        ("python", "█\n    a = 1\n", "    "),
        ("python", "█", ""),
        # in a line like that line
        ("python", "    x = █\n", "    "),
        ("text", "  a █\n", "  "),
    ],
)
def test_indent(language: str, marked: str, indent: str) -> None:
    for line_break in ("\n", "\r\n"):
        assert plan_at(language, marked.replace("\n", line_break)).indent == indent


@pytest.mark.parametrize(
    ("language", "marked", "brackets"),
    [
        # an upper-case C behind an opener: its closer stands after the cursor
        ("python", "foo(█)\n", "(C"),
        ("python", "foo(█\n", "("),
        ("python", "foo(bar(█)\n", "(C("),
        ("python", "foo(bar(█))\n", "(C(C"),
        ("python", "foo(a, █, b)\n", "(C"),
        ("python", "foo([█)\n", "(C["),
        ("python", "x = [\n    (█\n]\n", "[C("),
        ("python", "foo(')', █)\n", "(C"),
        ("python", "foo(  # (\n    █\n)\n", "(C"),
        ("python", 'f"{a[█]}"\n', ""),
        ("python", "foo(a)█\n", ""),
        ("python", "foo(█\nbar()\n", "("),
        ("python", "def f():\n    foo(█\n    return (1)\n", "("),
        ("python", "x = {'a': [█], 'b': (1)}\n", "{C[C"),
        ("javascript", "const s = `${f(█)}`;\n", "{C(C"),
        ("javascript", "f(() => {█});\n", "(C{C"),
        ("javascript", "f(() => {\n  █\n});\n", "(C{C"),
        ("javascript", "a.replace(/[(]/, █);\n", "(C"),
        ("javascript", "class A {\n  f() {\n    if (x) {█\n    y();\n  }\n}\n", "{C{C{"),
        ("javascript", "function f() {\n  if (x) {█\n  y();\n}\n", "{C{"),
        ("tsx", "const a = <p b={█}>Don't</p>;\n", "{C"),
        ("go", "func main() {\n\t█\n}\n", "{C"),
        ("go", "func main() {\n\tx := []int{█\n}\n", "{C{"),
        ("rust", "fn f<'a>() {\n    match x {\n        █\n    }\n}\n", "{C{C"),
        ("rust", "println!(█);\n", "(C"),
        ("java", "class A {\n    int f() {\n        g(█);\n    }\n}\n", "{C{C(C"),
        ("java", "class A {\n    int f() {█\n}\n", "{C{"),
        ("text", "f(█\n", "("),
        ("text", "f(█)\n", "(C"),
    ],
)
def test_brackets(language: str, marked: str, brackets: str) -> None:
    plan = plan_at(language, marked)
    found = zip(plan.open_brackets, plan.is_closed, strict=True)
    assert "".join(bracket + "C" * is_closed for bracket, is_closed in found) == brackets


@pytest.mark.parametrize(
    ("language", "marked", "quote_end", "is_ended"),
    [
        ("python", 'x = "a █"\n', '"', True),
        ("python", 'x = "a █\n', '"', False),
        ("python", "x = '\" █'\n", "'", True),
        ("python", 'x = "a █\\""\n', '"', True),
        ("python", 'x = "a █\\"\n', '"', False),
        ("python", 'def f():\n    """A\n    █\n    """\n    x = 1\n', '"""', True),
        ("python", 'def f():\n    """█\n    x = 1\n\ndef g():\n    """B."""\n', '"""', False),
        ("python", "x = 1  # a█\n", "", False),
        ("javascript", "/* █ */\n", "*/", True),
        ("javascript", "/* █\nf();\n/* a */\n", "*/", False),
        ("javascript", "const s = `a${b}█`;\n", "`", True),
        ("rust", 'let s = r##"a█"##;\n', '"##', True),
        ("rust", "let c = '\\█';\n", "'", True),
        ("go", "x := `█`\n", "`", True),
        ("java", 'String s = """\n    █\n    """;\n', '"""', True),
        # just begun at the end of a line: the next quote below begins a string of its own
        ("rust", 'fn f() {\n    g(S("a█\n    let b = S("c");\n}\n', '"', False),
        ("javascript", "f(() => {\n  g(`a█\n  h(`b`, `c`)\n})\n", "`", False),
        ("javascript", "const s = `a█\nb`;\n", "`", True),
    ],
)
def test_quotes(language: str, marked: str, quote_end: str, is_ended: bool) -> None:
    plan = plan_at(language, marked)
    assert (plan.quote_end, plan.is_quote_ended) == (quote_end, is_ended)


def test_lines_around_the_cursor() -> None:
    plan = plan_at("python", "a\n  b(█, c)  \r\n\r\n \n  d\ne\n")
    assert (plan.line_prefix, plan.line_suffix, plan.next_line) == ("  b(", ", c)  ", "  d")
    assert plan_at("python", "a█").next_line == ""


@pytest.mark.parametrize(
    "case",
    [case for case in (*LINES, *BLOCKS) if case.stop is not None],
    ids=lambda case: repr(case.marked),
)
def test_what_is_shown_breaks_no_syntax(case: Case) -> None:
    """Prefix, completion and suffix together parse no worse than before."""
    prefix, suffix = case.marked.split("█")
    shown = settle(case.generated, case.plan, is_final=True).text
    before = num_syntax_errors(case.language, prefix + suffix)
    after = num_syntax_errors(case.language, prefix + shown + suffix)
    assert after is None or before is None or after <= before


def test_a_docstring_above_the_window_does_not_turn_code_into_text() -> None:
    body = "".join(f"    x{index} = 'it''s'  # don't\n" for index in range(800))
    prefix = f'"""Module."""\n\n\ndef f():\n    """Long."""\n{body}    foo('
    plan = plan_hole("python", prefix, ")\n" + body)
    assert (plan.kind, plan.open_brackets, plan.is_closed) == ("line", "(", (True,))


def test_a_window_does_not_begin_inside_of_a_docstring() -> None:
    prose = "".join(f"Line {index} tells more.\n" for index in range(300))
    method = '    def f(self) -> int:\n        """Doc."""\n        return 1\n\n'
    for above in (
        f'"""Module.\n{prose}"""\n\nx = 1\n',
        f'class A:\n    """Doc.\n\n{prose}    """\n\n',
    ):
        below = method * 70 + "    def g(self):\n        foo("
        for num_chars in range(6000, 10_000, 500):
            prefix = above + below[-num_chars:][below[-num_chars:].index("    def") :]
            plan = plan_hole("python", prefix, ")\n" + method)
            assert (plan.kind, plan.open_brackets, plan.is_closed) == ("line", "(", (True,))


@pytest.mark.parametrize(
    ("language", "line", "method"),
    [
        ("python", "    def g(self", "    def f(self) -> int:\n        return h(1)\n\n"),
        ("java", "    int g(int x", "    int f() {\n        return h(1);\n    }\n\n"),
        ("typescript", "  x = g(1, [", "  f(): number {\n    return h(1);\n  }\n\n"),
    ],
)
def test_what_nobody_closes_in_a_long_class_is_open(language: str, line: str, method: str) -> None:
    opener = ":" if language == "python" else " {"
    plan = plan_hole(language, f"class A{opener}\n{method}{line}", "\n" + method * 200)
    brackets = list(zip(plan.open_brackets, plan.is_closed, strict=True))
    assert ("(", True) not in brackets
    assert ("[", True) not in brackets
    assert ("(", False) in brackets


def test_two_thousand_lines_take_a_few_milliseconds() -> None:
    """1.3 ms (median) to 2.6 ms (p95) when measured; the limit leaves room for a busy machine."""
    lines = Path(__file__).read_text().splitlines(keepends=True)
    text = "".join((lines * 10)[:2000])
    cursors = range(100, len(text), len(text) // 40)
    durations = []
    for cursor in cursors:
        started = time.perf_counter()
        plan_hole("python", text[:cursor], text[cursor:])
        durations.append(time.perf_counter() - started)
    assert statistics.median(durations) < 0.03
