"""Whatever a model writes, in whatever hole: shown text only grows, and a stop is final."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.format.plan import HolePlan
from model.format.settle import settle
from model.format.syntax import plan_hole

LANGUAGES = ("python", "javascript", "typescript", "tsx", "go", "rust", "java", "text")
PIECES = (
    *("\n", "\n", "\r\n", "\r", "    ", "  ", "\t", " ", "\n    ", "\n        ", "\n\n"),
    *("(", ")", "[", "]", "{", "}", ",", ";", ":", "):", "})", "({"),
    *('"', "'", "`", '"""', "'''", "\\", "\\\n", "#", "//", "/*", "*/", "/", "*", "$", "${"),
    *(
        "'a",
        "'{'",
        "r#",
        '"#',
        "r",
        "x",
        "ab",
        "é",
        "_",
        "1",
        "return",
        "if a:",
        "else:",
        "=",
        "<p>",
    ),
    *("</p>", "x = 1", "foo(", "def f():", "case 1:", "func", "return x"),
)
CODE = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
PLANS = st.builds(
    plan_hole, st.sampled_from(LANGUAGES), CODE, CODE, max_lines=st.sampled_from((1, 2, 12))
)


@st.composite
def holes(draw: st.DrawFn) -> tuple[HolePlan, str]:
    """A plan and a text that a model may write there, often one that runs into the suffix."""
    plan = draw(PLANS)
    pieces = st.sampled_from((*PIECES, plan.line_suffix, plan.next_line, plan.quote_end))
    return plan, "".join(draw(st.lists(pieces, max_size=14)))


@settings(max_examples=1000, deadline=None)
@given(holes())
def test_text_only_grows(hole: tuple[HolePlan, str]) -> None:
    plan, generated = hole
    shown, stopped = "", None
    for length in range(len(generated) + 1):
        part = generated[:length]
        settled = settle(part, plan, is_final=False)
        final = settle(part, plan, is_final=True)
        assert settled.text.startswith(shown)
        assert final.text.startswith(settled.text)
        assert part.startswith(final.text)
        assert (settled.stop is not None) == settled.is_stopped
        if stopped is not None:
            assert settled == final == stopped
        if settled.is_stopped:
            assert final == settled
            stopped = settled
        shown = settled.text


@settings(max_examples=300, deadline=None)
@given(holes())
def test_lines_hold_no_break_and_blocks_not_too_many(hole: tuple[HolePlan, str]) -> None:
    plan, generated = hole
    text = settle(generated, plan, is_final=True).text
    num_breaks = len(re.findall(r"\r\n|\r|\n", text))
    # The rest of the cursor's own line is not counted if it stays empty.
    assert num_breaks <= (0 if plan.max_lines == 1 else plan.max_lines)
    if plan.max_lines > 1:
        assert text == text.rstrip()


@settings(max_examples=300, deadline=None)
@given(holes())
def test_the_next_line_is_not_repeated_at_the_end(hole: tuple[HolePlan, str]) -> None:
    plan, generated = hole
    text = settle(generated, plan, is_final=True).text
    rows = re.split(r"\r\n|\r|\n", plan.line_prefix + text)
    is_plain = not re.search(r"""["'`/*\\#()\[\]{}]""", generated + plan.quote_end)
    if plan.max_lines > 1 and plan.next_line.strip() and is_plain and text:
        assert rows[-1].rstrip() != plan.next_line.rstrip()


@pytest.mark.parametrize("language", LANGUAGES)
@given(code=st.text("()[]{}abc, \n", max_size=30))
def test_brackets_of_a_completion_match(language: str, code: str) -> None:
    """In the arguments of a call nothing closes that was not opened there."""
    plan = plan_hole(language, "foo(", ")\n")
    text = settle(code, plan, is_final=True).text
    opened = ""
    for character in text:
        if character in "([{":
            opened += character
        elif character in ")]}":
            pair = opened[-1:] + character
            if language != "text":
                assert pair in ("()", "[]", "{}")
            opened = opened[:-1]
