import pytest

from model.format.repetition import Repetition, Row, find_repetition


def rows(*lines: str, is_open: bool = False) -> list[Row]:
    """Rows of a completion; with `is_open` the last one may still grow."""
    starts = [sum(len(line) + 1 for line in lines[:index]) for index in range(len(lines))]
    last = len(lines) - 1
    return [
        Row(start, line, not (is_open and index == last))
        for index, (start, line) in enumerate(zip(starts, lines, strict=True))
    ]


@pytest.mark.parametrize(
    ("above", "lines", "start"),
    [
        (["x = f(a)"], ["x = f(a)"], 0),
        (["x = f(a)"], ["x = f(b)", "x = f(b)"], 9),
        (["x = f(a)", "y = f(b)"], ["x = f(a)", "y = f(b)"], 0),
        (["a b", "c d", "e f"], ["a b", "c d", "e f"], 0),
        ([], ["a b", "c d", "", "a b", "c d"], 9),
        (["x = f(a)  "], ["x = f(a)"], 0),
    ],
)
def test_repetitions(above: list[str], lines: list[str], start: int) -> None:
    assert find_repetition(above, rows(*lines), is_final=True) == Repetition(start, True)


@pytest.mark.parametrize(
    ("above", "lines"),
    [
        (["x = f(a)"], ["  x = f(a)"]),
        (["x = f(a)"], ["x = f(b)"]),
        (["x = f(a)", "y = g(a)"], ["x = f(a)", "y = g(b)"]),
        (["x = f(a)", "y = g(a)"], ["x = f(a)"]),  # its second line did not come
        (["0, 0, 0,"], ["0, 0, 0,"]),
        (["pass"], ["pass"]),
        (["}"], ["}"]),
        ([], ["x = f(a)"]),
    ],
)
def test_no_repetitions(above: list[str], lines: list[str]) -> None:
    assert find_repetition(above, rows(*lines), is_final=True) is None


def test_what_may_become_a_repetition_is_told_until_it_does_not() -> None:
    above = ["x = f(a)", "y = g(a)"]
    for line in ("", "y", "y = g(", "y = g(a)", "x", "x = f(a)"):
        expected = None if not line else Repetition(0, False)
        assert find_repetition(above, rows(line, is_open=True), is_final=False) == expected
    assert find_repetition(above, rows("z", is_open=True), is_final=False) is None
    assert find_repetition(above, rows("x = f(a)"), is_final=False) == Repetition(0, False)
    assert find_repetition(above, rows("x = f(a)", "z"), is_final=False) is None


def test_a_line_begun_by_hand_is_never_refused() -> None:
    [row] = rows("x = f(a)")
    assert find_repetition(["x = f(a)"], [row._replace(is_new=False)], is_final=True) is None
