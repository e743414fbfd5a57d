"""Edits by hand that are carried on: which calls are one function's, and how they are written."""

import pytest

from model.format.propagation import Edited, leftover, propagated


def carried(text: str, before: str, after: str) -> tuple[str, str]:
    """The text once an edit of it is carried on, and what is said about that."""
    start = text.index(before)
    text = text.replace(before, after, 1)
    found = propagated("python", text, Edited(before, start, start + len(after)))
    if found is None:
        return text, ""
    for hunk in reversed(found.hunks):
        text = text[: hunk.start] + hunk.text + text[hunk.end :]
    return text, found.sentence


@pytest.mark.parametrize(
    ("before", "after", "call", "expected"),
    [
        ("a, b", "b, a", "f(1, 2)", "f(2, 1)"),
        ("a, b", "a", "f(1, 2)", "f(1)"),
        ("a, b", "b", "f(1, b=2)", "f(b=2)"),
        ("a", "a, b", "f(1)", "f(1, ...)"),
        ("a", "a, b", "f(a=1)", "f(a=1, b=...)"),
        ("a", "a, b=2", "f(1)", "f(1)"),
        ("a, b", "a, b=2", "f(1, 2)", "f(1, 2)"),
        ("a, b=2", "a, b", "f(1)", "f(1, 2)"),
        ("a, b=LIMIT", "a, b", "f(1)", "f(1)"),
        ("a, b", "a, *, b", "f(1, 2)", "f(1, b=2)"),
        ("a, b", "a, c", "f(1, b=2)", "f(1, c=2)"),
        ("a: int, b: int", "a: int, c: str", "f(1, b=2)", "f(1, ...)"),
        ("a, b", "b, a", "f(\n    1,  # one\n    2,\n)", "f(\n    2,  # one\n    1,\n)"),
        ("a, b", "a, b, c", "f(\n    1,\n    2,\n)", "f(\n    1,\n    2,\n    ...,\n)"),
        ("a", "a, b", "f(\n    1,  # one\n)", "f(\n    1,  # one\n)"),
        ("a, b", "b, a", "f(f(1, 2), 3)", "f(3, f(2, 1))"),
        ("a, b", "b, a", "f(*x, 2)", "f(*x, 2)"),
        ("a, b", "a", "f(1, 2, 3)", "f(1, 2, 3)"),
        ("a", "*, a", "f(x := 1)", "f(a=(x := 1))"),
        ("a", "*, a", "f(i for i in x)", "f(i for i in x)"),
        ("a", "b, a", "f(1)\nlambda b: f(2)", "f(..., 1)\nlambda b: f(b, 2)"),
    ],
)
def test_a_call_follows_its_signature(before: str, after: str, call: str, expected: str) -> None:
    text = f"def f({before}):\n    return 0\n\n{call}\n"
    new, _ = carried(text, f"def f({before}):", f"def f({after}):")
    assert new == f"def f({after}):\n    return 0\n\n{expected}\n"


SOURCE = """\
class Tank:
    def __init__(self, size, level):
        self.level = level

    @classmethod
    def full(cls, size):
        return cls(size, size)

    def pour(self, amount, into):
        self.pour(1, into)
        other = Tank(2, 3)
        other.pour(4, into)
        into.pour(5, self)
        return Tank.pour(self, 6, into)


class Cistern(Tank):
    def __init__(self):
        super().__init__(7, 8)


def use(tank: Tank, pump, Tank2=Tank):
    tank.pour(9, pump)
    pump.pour(10, tank)
"""


def test_methods_are_told_by_their_class() -> None:
    new, sentence = carried(SOURCE, "def pour(self, amount, into)", "def pour(self, into, amount)")
    expected = SOURCE.replace("self, amount, into", "self, into, amount")
    for old in ("self.pour(1, into)", "other.pour(4, into)", "tank.pour(9, pump)"):
        first, _, second = old.partition("(")[2].rstrip(")").partition(", ")
        expected = expected.replace(f"({first}, {second})", f"({second}, {first})")
    expected = expected.replace("pour(self, 6, into)", "pour(self, into, 6)")
    assert new == expected
    assert sentence == (
        "4 calls of `pour` changed, found by syntax. 2 calls could not be told and stayed."
    )


def test_a_class_is_called_by_its_name() -> None:
    new, _ = carried(SOURCE, "def __init__(self, size, level)", "def __init__(self, level, size)")
    expected = SOURCE.replace("self, size, level", "self, level, size")
    expected = expected.replace("Tank(2, 3)", "Tank(3, 2)").replace("(7, 8)", "(8, 7)")
    assert new == expected


@pytest.mark.parametrize(
    "shadow",
    [
        "def g(f):\n    f(1, 2)\n",
        "def g():\n    f = h\n    f(1, 2)\n",
        "def g():\n    from h import f\n    f(1, 2)\n",
        "class G:\n    def f(self, a, b): ...\n    def g(self): self.f(1, 2)\n",
        "g = lambda f: f(1, 2)\n",
        "g.f(1, 2)\n",
    ],
)
def test_another_function_of_the_name_stays(shadow: str) -> None:
    text = f"def f(a, b): ...\n\nf(1, 2)\n\n{shadow}"
    new, _ = carried(text, "def f(a, b)", "def f(b, a)")
    assert new == f"def f(b, a): ...\n\nf(2, 1)\n\n{shadow}"


@pytest.mark.parametrize(
    "text",
    [
        "def f(a, b): ...\ndef f(a, b): ...\nf(1, 2)\n",
        "@wrapped(1)\ndef f(a, b): ...\nf(1, 2)\n",
        "def f(a, b): ...\nf = wrapped(f)\nf(1, 2)\n",
    ],
)
def test_a_name_that_may_mean_something_else_is_left_alone(text: str) -> None:
    new, sentence = carried(text, "def f(a, b)", "def f(b, a)")
    assert (new, sentence) == (text.replace("f(a, b)", "f(b, a)", 1), "")


def test_a_renamed_parameter_is_renamed_in_body_and_calls() -> None:
    text = "def f(a, b):\n    return f(a=a, b=f(a, b))\n\nf(1, b=2)\n"
    new, sentence = carried(text, "def f(a, b):", "def f(a, c):")
    assert new == "def f(a, c):\n    return f(a=a, c=f(a, c))\n\nf(1, c=2)\n"
    assert "`b` becomes `c`" in sentence
    new, _ = carried(text, "def f(a, b):", "def f(d, a, c):")
    assert new == "def f(d, a, c):\n    return f(d, a=a, c=f(d, a, c))\n\nf(..., 1, c=2)\n"


def test_a_signature_of_many_lines() -> None:
    text = "class A:\n    def f(\n        self,\n        a,\n    ):\n        self.f(1)\n"
    new, _ = carried(text, "        a,", "        a,\n        b,")
    assert new.endswith("        self.f(1, b)\n")


def test_what_is_offered() -> None:
    def title(before: str, after: str, behind: str) -> str | None:
        found = leftover("python", after + behind, Edited(before, 0, len(after)))
        return None if found is None else found.title

    body = "\n    return 0\n"
    assert title("def f(a):", "def f(a, b):", f"{body}f(1)\n") == "Change the other calls of f, too"
    assert title("def f(a):", "def f(a, b):", body) is None
    assert title("def f(a):", "def f(a, b=1):", f"{body}f(1)\n") is None
    assert title("def f(a):", "def f(a: int):", f"{body}f(1)\n") is None
    assert title("def f(a):", "def f(a, :", f"{body}f(1)\n") is None
    assert title("a = 1", "b = 1", "\nprint(a)\n") == "Rename the other a to b, too"
    assert title("a = 1", "b = 2", "\nprint(a)\n") is None
    assert leftover("text", "def f(a, b): f(1)", Edited("def f(a): f(1)", 0, 17)) is None
    assert propagated("python", "def f(a, b): ...", Edited("def f(a): ...", 0, 16)) is None
