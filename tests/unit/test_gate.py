import pytest

from lsp_server.gate import SUBTLE_CONFIDENCE, bar, quiet_reason
from lsp_server.prediction import NO_BAR, Bar
from lsp_server.settings import Settings
from tests.fakes import snapshot_at


def reason(marked: str = "x = █\n", *, is_invoked: bool = False, **given: object) -> str | None:
    is_snoozed = bool(given.pop("is_snoozed", False))
    uri = str(given.pop("uri", "file:///home/me/app/docs/a%20b.py"))
    language = str(given.pop("language", "python"))
    snapshot = snapshot_at(marked, uri=uri, language=language)
    settings = Settings(**given)  # type: ignore[arg-type]
    return quiet_reason(snapshot, settings, is_invoked=is_invoked, is_snoozed=is_snoozed)


@pytest.mark.parametrize("is_invoked", [False, True])
@pytest.mark.parametrize(
    ("expected", "given"),
    [
        (None, {}),
        (None, {"show": "subtle"}),
        ("off", {"show": "never"}),
        ("language", {"off_languages": ("markdown", "Python")}),
        ("language", {"off_languages": ("javascript",), "language": "javascriptreact"}),
        (None, {"off_languages": ("markdown",)}),
        ("file", {"off_files": ("a b.py",)}),
        ("file", {"off_files": ("*.py",)}),
        ("file", {"off_files": ("docs/*",)}),
        ("file", {"off_files": ("/home/me/*",)}),
        (None, {"off_files": ("b.py", "*.rs", "me/*.js")}),
    ],
)
def test_what_is_off_is_off_by_hand_too(
    expected: str | None, given: dict[str, object], is_invoked: bool
) -> None:
    assert reason(is_invoked=is_invoked, **given) == expected


@pytest.mark.parametrize(
    ("expected", "marked", "given"),
    [
        ("snoozed", "x = █\n", {"is_snoozed": True}),
        ("manual", "x = █\n", {"trigger": "manual"}),
        ("comment", "x = 1  # and █\n", {"in_comments": False}),
        ("string", "x = 'and █'\n", {"in_strings": False}),
        ("string", 'def f():\n    """And █\n', {"in_strings": False}),
    ],
)
def test_by_hand_these_do_not_count(expected: str, marked: str, given: dict[str, object]) -> None:
    assert reason(marked, **given) == expected
    assert reason(marked, is_invoked=True, **given) is None


@pytest.mark.parametrize("marked", ["x = █\n", "x = 1  # a\n█", "x = 'a' + █\n"])
def test_code_is_neither_comment_nor_string(marked: str) -> None:
    assert reason(marked, in_comments=False, in_strings=False) is None


def test_only_subtle_asks_for_confidence() -> None:
    assert bar(Settings(), is_invoked=False) == Bar(0.0, 1)
    subtle = Settings(show="subtle", min_chars=3)
    assert bar(subtle, is_invoked=False) == Bar(SUBTLE_CONFIDENCE, 3)
    assert bar(subtle, is_invoked=True) == NO_BAR
