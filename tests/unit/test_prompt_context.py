"""From a request to its prompt: surroundings before the document, and within the window."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.format.healing import MAX_HEALED
from model.format.plan import HolePlan
from model.format.surroundings import Excerpt, Surroundings
from model.format.tokenizer import Tokenizer
from sampler.context import ContextLimits, build_context
from sampler.messages import Complete
from tests.tiny import tiny_vocabulary

PLAN = HolePlan("python", "line", 1, "", "", "", "")
VOCABULARY = tiny_vocabulary()
TOKENIZER = Tokenizer(VOCABULARY)
REQUEST = Complete("1", "file:///d.py", "x = a(", ")\n", PLAN)
EXCERPT = Excerpt("a.py", "def a(first, second): ...")
SURROUNDINGS = Surroundings("shop", "d.py", (EXCERPT,), max_tokens=100)


@pytest.mark.parametrize("layout", ["spm", "psm"])
def test_surroundings_stand_before_an_unchanged_prompt(layout: str) -> None:
    limits = ContextLimits(400)
    plain = build_context(replace(REQUEST, layout=layout), VOCABULARY, TOKENIZER, limits)
    request = replace(REQUEST, layout=layout, surroundings=SURROUNDINGS)
    context = build_context(request, VOCABULARY, TOKENIZER, limits)
    num_front = len(context.tokens) - len(plain.tokens)
    assert context.tokens[num_front:] == plain.tokens
    assert (context.required, context.num_healed) == (plain.required, plain.num_healed)
    assert 0 < sum(context.excerpt_tokens) < num_front <= 100


@pytest.mark.parametrize("surroundings", [None, replace(SURROUNDINGS, excerpts=()),
                                          replace(SURROUNDINGS, max_tokens=5)])  # fmt: skip
def test_nothing_related_is_the_prompt_of_one_file(surroundings: Surroundings | None) -> None:
    limits = ContextLimits(400)
    plain = build_context(REQUEST, VOCABULARY, TOKENIZER, limits)
    request = replace(REQUEST, surroundings=surroundings)
    assert build_context(request, VOCABULARY, TOKENIZER, limits).tokens == plain.tokens


@pytest.mark.parametrize("missing", ["fim", "repository"])
def test_a_model_that_cannot_tell_files_apart_sees_one(missing: str) -> None:
    vocabulary = replace(VOCABULARY, **{missing: None})  # type: ignore[arg-type]
    request = replace(REQUEST, surroundings=SURROUNDINGS)
    context = build_context(request, vocabulary, TOKENIZER, ContextLimits(400))
    expected = build_context(REQUEST, vocabulary, TOKENIZER, ContextLimits(400))
    assert context.tokens == expected.tokens


@given(st.integers(40, 300), st.integers(0, 4000), st.integers(0, 500))
def test_the_window_holds_whatever_is_known(room: int, num_chars: int, max_tokens: int) -> None:
    surroundings = Surroundings("shop", "d.py", (EXCERPT,) * 9, max_tokens)
    request = replace(REQUEST, prefix="é " * num_chars, surroundings=surroundings)
    context = build_context(request, VOCABULARY, TOKENIZER, ContextLimits(room))
    assert len(context.tokens) <= room
    assert sum(context.excerpt_tokens) <= min(max_tokens, room // 2)


def test_typing_leaves_the_surroundings_in_the_cache() -> None:
    def tokens(prefix: str) -> list[int]:
        request = replace(REQUEST, prefix=prefix, surroundings=SURROUNDINGS)
        return build_context(request, VOCABULARY, TOKENIZER, ContextLimits(400)).tokens

    before, after = tokens("x = a("), tokens("x = a(first, ")
    assert after[: len(before) - MAX_HEALED] == before[:-MAX_HEALED]
