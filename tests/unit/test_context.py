from dataclasses import replace

import pytest

from lsp_server.context import build_request, refusal
from lsp_server.settings import Settings
from sampler.messages import Complete
from tests.fakes import document_at, snapshot_at


def test_request_holds_the_text_around_the_cursor_and_the_settings() -> None:
    settings = replace(
        Settings(), mode="ar", layout="psm", max_new_tokens=7, max_lines=3, budget_ms=50.0
    )
    snapshot = snapshot_at("def f(x):\n    return █\n\nf(1)\n", uri="file:///a.py")
    request = build_request(snapshot, settings, "17")
    assert (request.request_id, request.document) == ("17", "file:///a.py")
    assert (request.prefix, request.suffix) == ("def f(x):\n    return ", "\n\nf(1)\n")
    assert (request.mode, request.layout) == ("ar", "psm")
    assert (request.max_new_tokens, request.budget_ms) == (7, 50.0)
    assert request.plan.language == "python"
    assert request.plan.max_lines <= 3
    assert (request.plan.line_prefix, request.plan.line_suffix) == ("    return ", "")
    assert request.plan.next_line == "f(1)"


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_the_engine_sees_line_feeds_only(line_break: str) -> None:
    marked = "def f():\n    return █ + 1\ng()\n"
    request = build_request(snapshot_at(marked.replace("\n", line_break)), Settings(), "1")
    expected = build_request(snapshot_at(marked), Settings(), "1")
    assert request == expected


def test_unknown_languages_have_a_plan_too() -> None:
    request = build_request(snapshot_at("dear all,█", language="klingon"), Settings(), "1")
    assert request.prefix == "dear all,"


@pytest.mark.parametrize(
    ("marked", "limit", "reason"),
    [
        ("x = █1\n", 6, None),
        ("x = █1\n", 5, "max_file_bytes"),
        ("é█é\n", 4, "max_file_bytes"),
        ("█\x7fELF\0\n", 99, "NUL"),
    ],
)
def test_what_gets_no_completions(marked: str, limit: int, reason: str | None) -> None:
    document, _ = document_at(marked)
    found = refusal(document, replace(Settings(), max_file_bytes=limit))
    assert (found is None) == (reason is None)
    assert (reason or "") in (found or "")


def test_a_document_that_is_not_open_gets_no_completions() -> None:
    assert refusal(None, Settings()) == "the document is not open"


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_a_long_document_is_cut_where_typing_does_not_move_the_cut(line_break: str) -> None:
    lines = [f"name_{index} = {index}" for index in range(20_000)]
    before, after = "\n".join(lines[:10_000]) + "\n", "\n" + "\n".join(lines[10_000:])

    def request(typed: str) -> Complete:
        text = f"{before}{typed}█{after}".replace("\n", line_break)
        return build_request(snapshot_at(text), Settings(), "1")

    first, second = request("x"), request("x = name_")
    assert second.prefix == first.prefix + " = name_"
    assert second.suffix == first.suffix
    assert before.endswith(first.prefix[:-1])
    assert after.startswith(first.suffix)
    assert 3000 < len(first.prefix) <= 8000
    assert 900 < len(first.suffix) <= 1200
    assert first.plan.line_prefix == "x"
    assert first.plan.next_line == lines[10_000]
