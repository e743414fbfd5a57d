"""Type hints of an answer: as they are written today, and None only where there is one."""

import pytest

from model.format.answers import take
from model.format.hints import without_none
from model.format.rewriting import action_named
from model.format.selection import Selection


def hinted(code: str, signature: str) -> str:
    """The first line of some code once an answer's hints are in it."""
    action = action_named("types")
    assert action is not None
    selection = Selection("python", code, 0, len(code.rstrip("\n")))
    return take(action, selection, f"{signature}\n    pass\n").code.splitlines()[0]


@pytest.mark.parametrize(
    ("body", "is_kept"),
    [
        ("return str(a)", False),
        ("return a", True),
        ("b = [a]\n    return b", False),
        ("b = None\n    b = a\n    return b", True),
        ("b = a.get(1)\n    return b", True),
        ("for b in a:\n        pass\n    return b", True),
        ("b, c = a\n    return b", True),
        ("if a:\n        return 1\n    return 2", False),
        ("if a:\n        return 1\n    else:\n        raise a", False),
        (
            "if a:\n        return 1\n    elif b:\n        return 2\n    else:\n        return 3",
            False,
        ),
        ("if a:\n        return 1\n    elif b:\n        return 2", True),
        ("if a:\n        return\n    return 2", True),
        ("if a:\n        return None\n    return 2", True),
        ("with a:\n        return 1", False),
        ("while a:\n        return 1", True),
        ("def inner():\n        return None\n    return 1, 2", False),
        ("return a if a else None", True),
        ("return a or 1", True),
        ("return", True),
    ],
)
def test_a_result_is_optional_if_it_may_be_none(body: str, is_kept: bool) -> None:
    expected = "int | None" if is_kept else "int"
    line = hinted(f"def f(a):\n    {body}\n", "def f(a) -> Optional[int]:")
    assert line == f"def f(a) -> {expected}:"


@pytest.mark.parametrize(
    ("parameter", "use", "expected"),
    [
        ("a", "a + 1", "a: int"),
        ("a", "a is None", "a: int | None"),
        ("a", "not a", "a: int | None"),
        ("a", "a or 1", "a: int | None"),
        ("a", "1 if a else 2", "a: int | None"),
        ("a=0", "not a", "a: int = 0"),
        ("a=0", "a is not None", "a: int | None = 0"),
        ("a=None", "a + 1", "a: int | None = None"),
    ],
)
def test_a_parameter_is_optional_if_the_function_asks(
    parameter: str, use: str, expected: str
) -> None:
    for hint in ("Optional[int]", "int | None", "None | int"):
        head = parameter.replace("a", f"a: {hint}", 1)
        line = hinted(f"def f({parameter}):\n    return {use}\n", f"def f({head}):")
        expected_here = expected.replace("int | None", hint) if hint[0] == "N" else expected
        assert line == f"def f({expected_here}):"


def test_only_a_whole_alternative_is_none() -> None:
    assert without_none("int | str | None") == "int | str"
    assert without_none("dict[str, int | None]") == "dict[str, int | None]"
    assert without_none("Callable[[int], None]") == "Callable[[int], None]"
    assert without_none("None") == "None"
    assert without_none("list[int | None] | None") == "list[int | None]"
