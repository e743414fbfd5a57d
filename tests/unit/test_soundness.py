import pytest

from model.format.soundness import Soundness
from model.format.syntax import plan_hole

CURSOR = "█"


def soundness(marked: str, language: str = "python") -> Soundness:
    prefix, suffix = marked.split(CURSOR)
    return Soundness(plan_hole(language, prefix, suffix), prefix, suffix)


@pytest.mark.parametrize(
    ("marked", "text"),
    [
        ("x = █\n", "f(a)"),
        ("x = █\n", "f(a"),  # what is half written counts as closed
        ("x = █\n", "f('a"),
        ("x = █\n", "[f({"),
        ("x = █\ny = 2\n", "f("),
        ("f(█)\n", "a, g(b"),
        ("f(█\n", "a, g(b"),
        ("def f():\n    █\n", "if a:"),
        ("def f():\n    █\n", "try:"),
        ("class A:\n    █\n", "@property"),
        ("class A:\n    @█\n", "property"),
        ("class A:\n    █\n", "x = 1\n\n    @property"),
        ("x = █\n", ""),
        ("x = █\n", "  "),
        ('"""A █\n"""\n', "b (c"),
        ("# a█\n", " b) c ["),
        ("x = )\ny = █\n", "1"),  # broken before
        ("def f(:\n    █\n", "return 1"),
    ],
)
def test_sound(marked: str, text: str) -> None:
    assert soundness(marked).is_sound(text)


@pytest.mark.parametrize(
    ("marked", "text"),
    [
        ("x = █\n", "f(a b"),
        ("x = █\n", "f(a b)"),
        ("x = █\n", "a +"),
        ("x = █\n", "1)"),
        ("f(█)\n", "a, b c"),
        ("def f():\n    █\n", "return 1\n    x = = 2"),
        ("def f():\n    █\n", "else: x"),
        ("x = )\ny = █\n", "1 2"),
    ],
)
def test_not_sound(marked: str, text: str) -> None:
    assert not soundness(marked).is_sound(text)


@pytest.mark.parametrize(
    ("language", "marked", "text", "expected"),
    [
        ("python", "x = █\n", "f(a", "f(a)"),
        ("python", "x = █\n", "f([a, 'b", "f([a, 'b'])"),
        ("python", "x = █\n", "f(a)", "f(a)"),
        ("python", "f(█)\n", "a, g(b", "a, g(b)"),  # the editor has closed the outer one
        ("python", "x = f(█\n", "a, g(b", "a, g(b))"),
        ("python", "x = f(█\n", "a", "a)"),
        ("python", "x = f(\n    █\n", "a", "a"),  # further up: the business of later lines
        ("python", "x = f(\n    █\n)\n", "g(a", "g(a)"),
        ("python", "x = █\n", "f(", "f("),  # goes on below
        ("python", "x = █\n", "f(a,", "f(a,"),
        ("python", "x = █\n", "a b", "a b"),
        ("python", '"""A█\n"""\n', " (b", " (b"),
        ("python", "x = █\n", "", ""),
        ("javascript", "const x = █\n", "f({a: [1", "f({a: [1]})"),
        ("javascript", "█\n", "if (x) {", "if (x) {"),
        ("text", "x = █\n", "f(a", "f(a"),
    ],
)
def test_closed(language: str, marked: str, text: str, expected: str) -> None:
    assert soundness(marked, language).closed(text) == expected


def test_everything_is_sound_without_a_grammar() -> None:
    assert soundness("a █", "text").is_sound(")]}")
