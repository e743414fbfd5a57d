import pytest

from lsp_server.prediction import Prediction
from lsp_server.recents import AFTER_CHARS, BEFORE_CHARS, MAX_RECENTS, Recents
from tests.fakes import snapshot_at


def prediction(marked: str, text: str, request_id: str = "1") -> Prediction:
    snapshot = snapshot_at(marked)
    return Prediction(request_id, snapshot, snapshot, raw_text=text, is_final=True)


def found(recents: Recents, marked: str) -> str | None:
    one = recents.find(snapshot_at(marked))
    return None if one is None else one.remaining


def kept(*predictions: Prediction) -> Recents:
    recents = Recents()
    for one in predictions:
        recents.keep(one)
    return recents


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        ("x = █\n", "f(a)"),
        ("x = f(█\n", "a)"),  # typed in part
        ("x = f(a)█\n", None),  # nothing is left of it
        ("x = g(█\n", None),
        ("x =█ \n", None),
        ("x = █\ny", None),
        ("y\nx = █\n", None),
    ],
)
def test_a_place_gives_back_its_prediction(marked: str, expected: str | None) -> None:
    assert found(kept(prediction("x = █\n", "f(a)")), marked) == expected


def test_what_is_found_goes_on_like_any_prediction() -> None:
    one = kept(prediction("a\n█\nb", "c\nd\n")).find(snapshot_at("a\nc\n█\nb"))
    assert one is not None
    assert (one.origin.offset, one.origin.line, one.origin.text) == (2, 1, "a\n\nb")
    assert (one.now.line, one.remaining, one.tier, one.is_final) == (2, "d\n", "recent", True)
    assert one.follow("a\nc\nd\nb", 2)
    assert one.remaining == "\n"


def test_the_latest_of_a_place_wins_and_is_handed_over() -> None:
    recents = kept(prediction("x = █\n", "f(a)"), prediction("x = █\n", "f(b)", "2"))
    assert found(recents, "x = f█\n") == "(b)"
    assert found(recents, "x = f█\n") is None


def test_text_far_away_may_have_changed() -> None:
    before, after = "b" * BEFORE_CHARS, "a" * AFTER_CHARS
    recents = kept(prediction(f"x{before}█{after}y", "f()"))
    assert found(recents, f"yy{before}█{after}xx") == "f()"


def test_the_end_of_a_document_is_a_place_of_its_own() -> None:
    assert found(kept(prediction("x = █", "f()")), "x = █\n") is None


def test_only_whole_predictions_that_say_something_are_kept() -> None:
    running = prediction("x = █\n", "f(")
    running.is_final = False
    assert found(kept(running, prediction("y = █\n", " \n")), "x = █\n") is None
    assert found(kept(prediction("y = █\n", " \n")), "y = █\n") is None


def test_the_oldest_go_first() -> None:
    recents = kept(*(prediction(f"x{n} = █", "f()") for n in range(MAX_RECENTS + 1)))
    assert found(recents, "x0 = █") is None
    assert found(recents, "x1 = █") == "f()"
