"""What of a generated text is shown, in real-life holes over six languages.

Each case is a file with a cursor (█), what a model that does not know where to end might write
there, and what of it may stay. Every case is also checked at every split of the generated text.
"""

from typing import NamedTuple

import pytest

from model.format.plan import HolePlan
from model.format.settle import Settlement, settle
from model.format.syntax import plan_hole


class Case(NamedTuple):
    language: str
    marked: str
    generated: str
    shown: str
    stop: str | None = "end_of_hole"

    @property
    def plan(self) -> HolePlan:
        prefix, suffix = self.marked.split("█")
        return plan_hole(self.language, prefix, suffix, max_lines=6)


LINES = [
    # the rest of a line ends at its end
    Case("python", "x = █\ny = 2\n", "1\ny = 2\n", "1", "line"),
    Case("python", "x = █\r\ny = 2\r\n", "1\r\ny = 2\r\n", "1", "line"),
    Case("python", "x = █\n", "1  \n", "1", "line"),
    Case("python", "x = █\n", "\n    1\n", "", "line"),
    Case("python", "x = █\n", "1", "1", None),
    Case("python", "x = 1  █\n", "# one\ny", "# one", "line"),
    Case("rust", "let x = █;\n", "5;\nlet y = 6;", "5", "line"),
    # what stands above may come again if it was begun by hand
    Case("python", "a = f(1)\na =█\ny\n", " f(1)\n", " f(1)", "line"),
    # closers that stand after the cursor are not written again
    Case("python", "foo(█)\n", "a, b)\nbar()", "a, b"),
    Case("python", "foo(█)\n", "bar(a), [b])\n", "bar(a), [b]"),
    Case("python", "foo(█)\n", "bar(a)\n", "bar(a)", "line"),
    Case("python", "foo(█):\n", "a, b):\n    pass\n", "a, b"),
    Case("python", "def f(█):\n", "a: int) -> int:\n", "a: int"),
    Case("python", "x = [1, █]\n", "2, 3]\n", "2, 3"),
    Case("python", "return {█}\n", '"}": 1}\n', '"}": 1'),
    Case("python", "print(f(█))\n", "x))\n", "x"),
    Case("python", "print(f(█)\n", "x))\n", "x)"),
    Case("python", "foo(█)\n", "a  # :)\n", "a"),
    Case("python", "foo(█)\n", "')', b)\n", "')', b"),
    Case("python", "foo(a, █, b)\n", "c, b)\n", "c"),
    Case("python", "foo(a, █, b)\n", "bar(c, b), b)\n", "bar(c, b)"),
    Case("python", "foo(█, b)\n", "a,", "a", None),
    Case("javascript", "foo(█);\n", "(a) => a[0]);\nbar();\n", "(a) => a[0]"),
    Case("javascript", "const s = `a ${█} b`;\n", "f({x: 1})} b`;\n", "f({x: 1})"),
    Case("javascript", "s.replace(█);\n", "/[)]/g, ')');\n", "/[)]/g, ')'"),
    Case("typescript", "const x: Map<string, █> = y;\n", "number> = y;\n", "number", "line"),
    Case("go", "fmt.Println(█)\n", "a, 'x', `)`)\n", "a, 'x', `)`"),
    Case("rust", "foo(█);\n", "x as &'a T, ')', r#\")\"#);\n", "x as &'a T, ')', r#\")\"#"),
    Case("java", "foo(█);\n", "x -> x + 1, ')');\n", "x -> x + 1, ')'"),
    # text after the cursor is not repeated
    Case("python", "x = █ + 1\n", "y + 1\n", "y", "line"),
    Case("python", "x = █  # why\n", "1  # why\n", "1"),
    Case("python", "x = █  # why\n", "1 # because\n", "1"),
    Case("python", "if █:\n", "a == b:\n    c\n", "a == b", "line"),
    Case("python", "█return x\n", "return x\n", "", "line"),
    Case("python", "print(█items)\n", "sorted_items)\n", "sorted_items"),
    Case("python", "if █ready:\n", "is_on and ", "is_on and ", None),
    Case("python", "foo(█b)\n", "a, b)\n", "a, "),
    Case("tsx", "return <div>█</div>;\n", "Don't {x}</div>;\n", "Don't {x}", "line"),
    Case("tsx", "return <p className={█}>a</p>;\n", "style.p}>b</p>;\n", "style.p"),
    # a closer that waits for its opener gets it
    Case("python", "x = y.█)\n", "strip()\n", "strip(", "line"),
    Case("python", "x = █), 1)\n", "f(g(a), 1)\n", "f(g(a", "line"),
    # strings and comments
    Case("python", 'x = "text █"\n', 'and more" + y\n', "and more"),
    Case("python", 'x = "text █"\n', 'a \\" b (', 'a \\" b (', None),
    Case("python", 'print("text █\n', 'more", x)\ny', 'more", x)', "line"),
    Case("python", 'print("text █")\n', 'more")\ny', "more"),
    Case("python", "# comm█\n", "ent :) it's\nx = 1\n", "ent :) it's", "line"),
    Case("python", '"""█:\nif a:"""\n', 'if a:"""', "if a"),
    Case("javascript", "f(/* a █ */ x)\n", "b */ x)\n", "b"),
    Case("text", "Dear all (1 █\n", "or 2) don't: a) b)\n", "or 2) don't: a) b)", "line"),
]

BLOCKS = [
    # a block ends before a dedent
    Case(
        "python",
        "def f(a, b):\n    █\n\ndef g():\n    pass\n",
        "c = a + b\n    return c\n\n\ndef h():\n    pass\n",
        "c = a + b\n    return c",
    ),
    Case("python", "if a:\n    █\n", "x = 1\nelse:\n    x = 2\n", "x = 1"),
    Case("python", "if a:█\n", "\n    b()\nc()\n", "\n    b()"),
    Case("python", "if a:█\n", " b()\nc()\n", " b()"),
    Case("python", "def f(\n    a,\n):█\n", "\n    return a\n\nx = 1\n", "\n    return a"),
    Case("python", "def f():\n    █\n", "x = [\n1,\n]\n    y = 2\nz\n", "x = [\n1,\n]\n    y = 2"),
    Case("python", "def f():\n    █\n", 'x = """\na\n"""\n    y\nz\n', 'x = """\na\n"""\n    y'),
    Case("python", "def f():\n\t█\n", "x = 1\n\ty = 2\nz = 3\n", "x = 1\n\ty = 2"),
    Case("python", "def f():\n    a = 1\n█", "    b = 2\n    c()\n\nf()", "    b = 2\n    c()"),
    Case("go", "func main() {\n\t█\n}\n", "x := f()\n\tg(x)\n}\n\nfunc", "x := f()\n\tg(x)"),
    Case(
        "go",
        "func f(x int) {\n\tswitch x {█\n\t}\n}\n",
        "\n\tcase 1:\n\t\tg()\n\t}\n}",
        "\n\tcase 1:\n\t\tg()",
    ),
    Case(
        "rust",
        "fn f(x: u8) -> u8 {\n    match x {\n        █\n    }\n}\n",
        "0 => 1,\n        _ => {\n            g()\n        }\n    }\n}\n",
        "0 => 1,\n        _ => {\n            g()\n        }",
    ),
    Case(
        "java",
        "class A {\n    int f() {\n        █\n    }\n}\n",
        "int x = 1;\n        return x;\n    }\n\n    int g() {\n",
        "int x = 1;\n        return x;",
    ),
    # … before a repetition of what comes next
    Case(
        "python",
        "def f():\n    a = 1\n    █\n    return a\n",
        "a += 1\n    return a\n",
        "a += 1",
    ),
    Case("python", "def f():\n    a = 1\n    █\n    return a\n", "return a\n", ""),
    Case(
        "python",
        "def f():\r\n    a = 1\r\n    █\r\n    return a\r\n",
        "a += 1\r\n    b = a\r\n    return a\r\n",
        "a += 1\r\n    b = a",
    ),
    Case(
        "python",
        "def f():\n    for x in y:\n█\n    return z\n",
        "        z += x\n        w += z\n    return z\n",
        "        z += x\n        w += z",
    ),
    Case("python", "x = [\n    1,\n    █\n]\n", "2,\n    3,\n]\nprint(x)\n", "2,\n    3,"),
    Case("typescript", "f({\n  a: 1,\n  █\n});\n", "b: 2,\n  c: [3],\n});\n", "b: 2,\n  c: [3],"),
    # … but not before a line that many lines are alike: the rule of a comment
    Case("rust", "█\n///\nfn f() {}\n", "/// A.\n///\n/// B.\n", "/// A.\n///\n/// B.", None),
    Case("java", "/**\n * █\n *\n * C.\n */\n", "A.\n *\n * B.\n */", "A.\n *\n * B."),
    # … nor where the first line is an attribute that the next one has as well
    Case("java", "class A {\n    █\n\n    @Override\n    int f() {}\n}\n",
         "@Override\n    int g() {}\n    @Override\n", "@Override\n    int g() {}"),
    Case("rust", "█\n\n#[test]\nfn f() {}\n", "#[test]\nfn g() {}\n\n#[test]\nfn",
         "#[test]\nfn g() {}"),
    Case("python", "class A:\n    x = 1\n\n█\n\n    @property\n",
         "    @property\n    def g(self):\n        pass\n\n    @property\n",
         "    @property\n    def g(self):\n        pass"),
    # … before a repetition of what stands above
    Case("python", "a = f(1)\n█\n", "a = f(1)\nb = f(2)\n", ""),
    Case("python", "a = f(1)\n█\ny\n", "a = f(1)\n", ""),
    Case("python", "a = f(1)\nb = f(2)\n█\n", "a = f(1)\nb = f(2)\n", ""),
    Case("python", "█\n", "a = f(1)\nb = f(2)\n\na = f(1)\nb = f(2)\n", "a = f(1)\nb = f(2)"),
    Case("python", "a = f(1)\n█\n", "a = f(2)\na = f(2)\n", "a = f(2)"),
    Case("python", "a = f(1)\nb = f(2)\n█\n", "a = f(1)\nb = f(3)\n", "a = f(1)\nb = f(3)", None),
    # … after as many lines as it may have
    Case("python", "█\n", "a\nb\nc\nd\ne\nf\ng\nh\n", "a\nb\nc\nd\ne\nf"),
    Case("text", "█\n", "a\n\n\n\n\n\ng\nh\n", "a"),
    Case("python", "if a:█\n", "\n    b\n    c\n    d\n    e\n    f\n    g\n    h\n",
         "\n    b\n    c\n    d\n    e\n    f\n    g"),
    # … after what it had to close
    Case(
        "javascript",
        "function f() {█\n\nfunction g() { }\n",
        "\n  if (x) {\n    y();\n  }\n}\n\nfoo();\n",
        "\n  if (x) {\n    y();\n  }\n}",
    ),
    Case("python", "print(f(█\n", "x))\ny\n", "x))"),
    Case("python", "foo(█\n", "  # :)\n    a)\nb", "  # :)\n    a)"),
    Case("javascript", "foo({█\n", "\n  a: 1,\n});\nbar();\n", "\n  a: 1,\n});"),
    Case("python", "foo(█\n    a\n)\n", "\n    b,\n    a\n)\n", "\n    b,"),
    Case(
        "python",
        'def f():\n    """█\n    x = 1\n\ndef g():\n    """Doc."""\n',
        'Do.\n\n    More (a.\n    """\n    y = 2\n',
        'Do.\n\n    More (a.\n    """',
    ),
    Case(
        "python",
        'def f():\n    """One\n    █\n    """\n    x = 1\n',
        'two (it\'s\nthree\n    """\n    x = 1\n',
        "two (it's\nthree",
    ),
    Case("java", "/**\n * █\n */\nclass A {}\n", "One.\n * Two.\n */\nclass", "One.\n * Two."),
    # complete by itself
    Case("python", "def f():\n    █\n", "return 1", "return 1", None),
    Case("python", "def f():\n    █\n", "return 1\n\n  \n", "return 1", None),
    Case("python", "def f():\n    █\n", "\n\n", "", None),
    Case("tsx", "const a = (\n  █\n);\n", "<p>\n    {x}\n  </p>\n);\n", "<p>\n    {x}\n  </p>"),
]  # fmt: skip


@pytest.mark.parametrize("case", [*LINES, *BLOCKS], ids=lambda case: repr(case.marked))
def test_case(case: Case) -> None:
    settled = settle(case.generated, case.plan, is_final=True)
    assert settled == Settlement(case.shown, case.stop is not None, case.stop)


@pytest.mark.parametrize("case", LINES, ids=lambda case: repr(case.marked))
def test_lines_are_lines(case: Case) -> None:
    assert case.plan.max_lines == 1


@pytest.mark.parametrize("case", BLOCKS, ids=lambda case: repr(case.marked))
def test_blocks_are_blocks(case: Case) -> None:
    assert case.plan.max_lines == 6


@pytest.mark.parametrize("case", [*LINES, *BLOCKS], ids=lambda case: repr(case.marked))
def test_every_split(case: Case) -> None:
    """Text only grows, and once stopped nothing changes, however the text arrives."""
    plan = case.plan
    whole = settle(case.generated, plan, is_final=True)
    shown, stopped = "", None
    for length in range(len(case.generated) + 1):
        part = case.generated[:length]
        settled = settle(part, plan, is_final=False)
        final = settle(part, plan, is_final=True)
        assert settled.text.startswith(shown)
        assert part.startswith(settled.text)
        assert final.text.startswith(settled.text)
        assert whole.text.startswith(settled.text)
        if stopped is not None:
            assert settled == final == stopped
        if settled.is_stopped:
            stopped = settled
        shown = settled.text
    if whole.is_stopped:
        # Only a final line without its line break may wait for the end.
        assert stopped == whole or not case.generated.endswith("\n")


@pytest.mark.parametrize(
    ("marked", "pieces"),
    [
        # a line comes out character by character
        ("x = █\n", [("f", "f"), ("o", "fo"), ("o", "foo"), ("(", "foo("), ("a", "foo(a")]),
        ("foo(█, b)\n", [("a", "a"), (",", "a"), (" ", "a"), ("c", "a, c")]),
        ("foo(█)\n", [("a", "a"), (" ", "a"), ("b", "a b")]),
        # a block too, but for a line that may repeat the next one
        ("def f():\n    █\n    return x\n", [("re", ""), ("d", "red"), (" = 1\n", "red = 1")]),
        ("def f():\n    █\n", [("a\n", "a"), ("    ", "a"), ("b", "a\n    b")]),
        ("def f():\n    █\n", [("x = ", "x ="), ('"', 'x ='), ("a", 'x = "a')]),
    ],
)  # fmt: skip
def test_streaming_is_prompt(marked: str, pieces: list[tuple[str, str]]) -> None:
    plan = plan_hole("python", *marked.split("█"))
    generated = ""
    for piece, shown in pieces:
        generated += piece
        assert settle(generated, plan, is_final=False).text == shown


def test_one_line_at_most() -> None:
    prefix, suffix = "def f():\n    ", "\n    return x\n"
    plan = plan_hole("python", prefix, suffix, max_lines=1)
    assert settle("x = 1\n    y = 2\n", plan, is_final=False) == Settlement("x = 1", True, "line")
    assert settle("return x\n", plan, is_final=False) == Settlement("", True, "line")
    assert settle("\nx = 1", plan, is_final=False) == Settlement("", True, "line")


def test_a_plan_that_knows_nothing_lets_everything_pass() -> None:
    plan = HolePlan("text", "block", 100, "", "", "", "")
    text = "a) it's {\n  ]b\n\n\n    c\nd"
    assert settle(text, plan, is_final=True) == Settlement(text, False, None)
