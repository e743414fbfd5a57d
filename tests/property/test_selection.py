"""Selections of real files: nothing outside changes, and what is taken out fits back."""

import abc
import bisect
import contextlib
import json.decoder
import sched
import shlex
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsp_server.documents import Change, Document, Encoding
from model.format.selection import hunks, select
from model.format.syntax import parses

FILES = [
    Path(str(module.__file__)).read_text()
    for module in (abc, bisect, contextlib, json.decoder, sched, shlex, textwrap)
]
STYLES: list[Callable[[str], str]] = [
    lambda text: text,
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text.replace("    ", "\t"),
    lambda text: text.replace("    ", "  ").replace("\n", "\r\n"),
    lambda text: text.replace("self", "selbst_ä😀"),
    lambda text: text.rstrip("\n"),
    lambda text: text[: len(text) // 2] + "(((\n" + text[len(text) // 2 :],
]
CODE = st.text(alphabet="ab (:\n\t'\"#é😀", max_size=60)


class Chosen(NamedTuple):
    text: str
    start: int
    end: int

    def __repr__(self) -> str:
        return f"Chosen({self.start}, {self.end}, {self.text[self.start : self.end]!r})"


@st.composite
def selections(draw: st.DrawFn) -> Chosen:
    text = draw(st.sampled_from(STYLES))(draw(st.sampled_from(FILES)))
    start = draw(st.integers(0, len(text)))
    return Chosen(text, start, min(len(text), start + draw(st.sampled_from([0, 1, 30, 200, 1500]))))


@given(selections(), CODE, st.sampled_from(["utf-8", "utf-16"]))
@settings(max_examples=200, deadline=None)
def test_no_byte_outside_changes(chosen: Chosen, code: str, encoding: Encoding) -> None:
    text, start, end = chosen
    selection = select("python", text, start, end)
    if selection is None:
        assert not text[start:end].strip()
        return
    if text[start:end].strip():
        inner = text[start:end].strip()
        assert inner in selection.old
        assert selection.start <= start or not text[start : selection.start].strip()
        assert selection.end >= end or not text[selection.end : end].strip()
    assert selection.start == 0 or text[selection.start - 1] in "\r\n"
    assert selection.end == len(text) or text[selection.end] in "\r\n"

    document = Document("file:///a.py", "python", 1, text, encoding)
    new = selection.fit(code)
    changes = [
        Change(hunk.text, (document.position_at(hunk.start), document.position_at(hunk.end)))
        for hunk in hunks(selection.old, new, selection.start)
    ]
    document.apply(reversed(changes), 2)
    assert document.text == selection.replaced_by(new)
    assert document.text.startswith(text[: selection.start])
    assert document.text.endswith(text[selection.end :])
    assert len(document.text) == len(text) - len(selection.old) + len(new)


@given(selections())
@settings(max_examples=200, deadline=None)
def test_old_code_fits_back_unchanged(chosen: Chosen) -> None:
    text, start, end = chosen
    selection = select("python", text, start, end)
    if selection is None:
        return
    assert "\r" not in selection.code
    assert selection.fit(selection.code) == selection.old
    assert selection.replaced_by(selection.old) == text
    assert hunks(selection.old, selection.fit(selection.code)) == []


@given(selections())
@settings(max_examples=100, deadline=None)
def test_whole_statements_parse_on_their_own(chosen: Chosen) -> None:
    text, start, end = chosen
    selection = select("python", text, start, end, most_lines=10_000)
    if selection is not None and parses("python", text):
        assert parses("python", selection.code)


@pytest.mark.parametrize("style", STYLES[1:4])
def test_new_lines_take_on_the_file_s_manners(style: Callable[[str], str]) -> None:
    text = style("class A:\n    def f(self):\n        if self:\n            return 1\n\nx = 2\n")
    selection = select("python", text, text.index("return"), text.index("return"))
    assert selection is not None
    assert selection.code == style("def f(self):\n    if self:\n        return 1\n").replace(
        "\r", ""
    )
    new = selection.fit("def f(self):\n    if self:\n        return 3\n    return 4\n")
    assert selection.replaced_by(new) == style(
        "class A:\n    def f(self):\n        if self:\n            return 3\n        return 4\n"
        "\nx = 2\n"
    )
