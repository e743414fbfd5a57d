"""The planner takes any text and any cursor; on sound code it gives back what was cut out."""

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.format.grammars import num_errors, parse
from model.format.plan import HolePlan
from model.format.settle import settle
from model.format.syntax import num_syntax_errors, parses, plan_hole
from tests.property.test_settle import CODE, LANGUAGES

ANY = st.one_of(CODE, st.text(max_size=40), st.text(st.characters(), max_size=20))
CLOSERS = {"(": ")", "[": "]", "{": "}"}


def check(plan: HolePlan, prefix: str, suffix: str, max_lines: int) -> None:
    assert (prefix + "|").endswith(plan.line_prefix + "|")
    assert suffix.startswith(plan.line_suffix)
    assert not re.search(r"[\r\n]", plan.line_prefix + plan.line_suffix + plan.next_line)
    assert not plan.indent.strip(" \t")
    assert plan.max_lines in (1, max_lines)
    assert (plan.kind == "block") <= (plan.max_lines > 1)
    assert len(plan.open_brackets) == len(plan.is_closed)
    assert set(plan.open_brackets) <= set(CLOSERS)
    assert plan.quote_end or not plan.is_quote_ended
    if plan.line_suffix.strip():
        assert plan.max_lines == 1
    settle("x\n", plan, is_final=True)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(LANGUAGES), ANY, ANY, st.sampled_from((1, 12)))
@example("python", "x = '\ud800", "\udfff'", 12)
@example("go", "a\r", "\nb", 12)
def test_any_text_has_a_plan(language: str, prefix: str, suffix: str, max_lines: int) -> None:
    check(plan_hole(language, prefix, suffix, max_lines=max_lines), prefix, suffix, max_lines)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(LANGUAGES), CODE, st.integers(0, 40_000), st.integers(1, 2_000))
def test_long_files(language: str, piece: str, cursor: int, times: int) -> None:
    text = (piece + "\n") * times
    cursor %= len(text) + 1
    check(plan_hole(language, text[:cursor], text[cursor:]), text[:cursor], text[cursor:], 12)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(LANGUAGES), ANY)
@example("python", "':::'a:\n")  # what is missing there has no node
def test_counting_errors_agrees_with_parsing(language: str, text: str) -> None:
    is_sound, num_wrong = parses(language, text), num_syntax_errors(language, text)
    tree = parse(language, text.encode(errors="replace"))
    assert (is_sound is None) == (num_wrong is None) == (tree is None) == (language == "text")
    if tree is not None:
        assert is_sound == (num_wrong == 0)
        assert tree.root_node.has_error == (num_errors(tree) > 0)
