"""Prompt layouts, against golden ids, and the window of text that they hold."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.format.prompt import (
    LAYOUTS,
    Window,
    render,
    render_surroundings,
    split_far,
    window,
)
from model.format.surroundings import Excerpt, Surroundings
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import (
    FimTokens,
    RepositoryTokens,
    Vocabulary,
    make_vocabulary,
    read_vocabulary,
)
from tests.tiny import tiny_vocabulary

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "prompts.json").read_text())
FIM = FimTokens(prefix=1, suffix=2, middle=3, pad=None)


def golden_ids(vocabulary: Vocabulary, layout: str) -> list[int]:
    tokenizer = Tokenizer(vocabulary)
    assert vocabulary.fim is not None
    prefix, suffix = tokenizer.encode(GOLDEN["prefix"]), tokenizer.encode(GOLDEN["suffix"])
    return render(layout, vocabulary.fim, prefix, suffix)


def test_every_layout_has_golden_ids() -> None:
    assert set(GOLDEN["tiny"]) == set(GOLDEN["qwen2.5-coder-0.5b"]) == set(LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tiny_prompts_never_change(layout: str) -> None:
    assert golden_ids(tiny_vocabulary(), layout) == GOLDEN["tiny"][layout]


@pytest.mark.weights
def test_real_prompts_never_change(weights_path: Path) -> None:
    vocabulary = read_vocabulary(weights_path)
    for layout in LAYOUTS:
        assert golden_ids(vocabulary, layout) == GOLDEN["qwen2.5-coder-0.5b"][layout]


def test_order_of_the_layouts() -> None:
    assert render("psm", FIM, [10, 11], [20]) == [1, 10, 11, 2, 20, 3]
    assert render("spm", FIM, [10, 11], [20]) == [1, 2, 20, 3, 10, 11]
    assert render("psm", FIM, [], []) == [1, 2, 3]
    assert render("psm", FIM, [10, 11], [20], [9]) == [1, 9, 10, 11, 2, 20, 3]
    assert render("spm", FIM, [10, 11], [20], [9]) == [1, 9, 2, 20, 3, 10, 11]


def test_unknown_layout_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Unknown prompt layout 'xyz'; known are psm, spm\.$"):
        render("xyz", FIM, [], [])


REPOSITORY = RepositoryTokens(name=7, file=8)
EXCERPTS = (Excerpt("a.py", "def a(): ...\n"), Excerpt("b/c.py", "B = 1"))


def encode_bytes(text: str) -> list[int]:
    return [100 + byte for byte in text.encode()]


def spelled(ids: list[int]) -> str:
    marks = {REPOSITORY.name: "<repo>", REPOSITORY.file: "<file>"}
    return "".join(marks.get(id_) or chr(id_ - 100) for id_ in ids)


def test_excerpts_are_the_other_files_of_a_repository() -> None:
    surroundings = Surroundings("shop", "src/d.py", EXCERPTS, max_tokens=99)
    front = render_surroundings(REPOSITORY, encode_bytes, surroundings)
    assert spelled(front.ids) == (
        "<repo>shop\n<file>a.py\ndef a(): ...\n<file>b/c.py\nB = 1\n<file>src/d.py\n"
    )
    assert front.excerpt_tokens == (19, 14)


@given(st.lists(st.text("ab \n", max_size=30), max_size=5), st.integers(0, 120))
def test_the_budget_holds_and_what_fits_is_there(texts: list[str], max_tokens: int) -> None:
    excerpts = tuple(Excerpt("e.py", text) for text in texts)
    surroundings = Surroundings("shop", "d.py", excerpts, max_tokens)
    front = render_surroundings(REPOSITORY, encode_bytes, surroundings)
    assert len(front.ids) <= max_tokens
    assert bool(front.ids) == any(front.excerpt_tokens)
    num_left = max_tokens - len(front.ids) if front.ids else max_tokens - len("Rshop\nFd.py\n")
    for excerpt, size in zip(excerpts, front.excerpt_tokens, strict=True):
        text = excerpt.text.rstrip("\n")
        assert size in (0, len(f"Fe.py\n{text}\n"))
        assert size > 0 or len(f"Fe.py\n{text}\n") > num_left


def test_repository_tokens_of_two_families() -> None:
    assert tiny_vocabulary().repository is not None
    plain = tiny_vocabulary()
    others = [token.replace("<|file_sep|>", "<file_sep>") for token in plain.tokens]
    vocabulary = make_vocabulary(
        others, plain.merges, plain.splits, added_ids=frozenset(plain.special_ids)
    )
    assert vocabulary.repository is None, "half of a pair is none"


def test_short_text_is_not_cut() -> None:
    assert window("ab\n", "\nc", max_prefix_chars=3, max_suffix_chars=8) == Window("ab\n", "\nc")


def test_cuts_at_lines() -> None:
    lines = "".join(f"line {index:03}\n" for index in range(100))
    cut = window(lines + "x = ", lines, max_prefix_chars=200, max_suffix_chars=205)
    assert cut.prefix.startswith("line ")
    assert cut.suffix.endswith("\n")
    assert 100 <= len(cut.prefix) <= 200
    assert len(cut.suffix) == 99


def test_edge_that_is_a_line_start_stays() -> None:
    line = "x" * 24 + "\n"
    assert window(line * 10, "", max_prefix_chars=100, max_suffix_chars=0).prefix == line * 4


def test_cuts_long_lines_anywhere() -> None:
    cut = window("x" * 1000, "y" * 1000, max_prefix_chars=100, max_suffix_chars=90)
    assert cut == Window("x" * 100, "y" * 45)


TEXTS = st.lists(
    st.sampled_from(["\n", "a", "    x = 1\n", "\r\n", "word " * 9, "é漢😀"]), max_size=60
).map("".join)
BUDGETS = st.integers(0, 120)


@given(TEXTS, TEXTS, BUDGETS, BUDGETS)
@example("ab", "ab", 0, 0)
@example("a\n", "\nb", 1, 1)
def test_budgets_are_kept_and_used(
    prefix: str, suffix: str, max_prefix: int, max_suffix: int
) -> None:
    cut = window(prefix, suffix, max_prefix_chars=max_prefix, max_suffix_chars=max_suffix)
    assert prefix.endswith(cut.prefix)
    assert suffix.startswith(cut.suffix)
    assert min(len(prefix), max_prefix // 2) <= len(cut.prefix) <= max_prefix
    assert min(len(suffix), max_suffix // 3) <= len(cut.suffix) <= max_suffix


@given(TEXTS, st.text("ab \n", min_size=1, max_size=150), st.integers(0, 120))
def test_typing_moves_the_left_edge_rarely(before: str, typed: str, budget: int) -> None:
    jumps, prefix = 0, before
    kept = window(prefix, "", max_prefix_chars=budget, max_suffix_chars=0).prefix
    for character in typed:
        prefix += character
        after = window(prefix, "", max_prefix_chars=budget, max_suffix_chars=0).prefix
        jumps += after != kept + character
        kept = after
    step = max(budget // 4, 1)
    assert jumps <= len(typed) // step + 1


@given(TEXTS, st.integers(0, 100), TEXTS)
def test_left_edge_does_not_depend_on_the_text_at_the_cursor(
    before: str, budget: int, changed: str
) -> None:
    """Replacing the last half of the budget by text of the same length moves nothing."""
    tail = budget // 2
    if tail == 0 or len(before) < tail:
        return
    other = (changed * tail + "\n" * tail)[:tail]
    first = window(before, "", max_prefix_chars=budget, max_suffix_chars=0).prefix
    second = window(before[:-tail] + other, "", max_prefix_chars=budget, max_suffix_chars=0).prefix
    assert len(first) == len(second)


LONG_TEXTS = st.lists(
    st.sampled_from(["    x = 1\n", "\n", "word " * 40, "y" * 900, "z = 2 ** 0.5\n"]), max_size=40
).map("".join)


@given(LONG_TEXTS, st.text("ab \n", min_size=1, max_size=700))
def test_what_is_far_does_not_depend_on_what_is_typed(before: str, typed: str) -> None:
    far, near = split_far(before)
    assert far + near == before
    assert len(near) >= 512 or not far
    assert split_far(before + typed)[0].startswith(far)
    changed = before[: -len(typed)] + typed if len(typed) < len(before) else before
    assert len(split_far(changed)[0]) == len(far), "nor on what stands before the cursor"


@given(LONG_TEXTS, st.integers(0, 4000))
def test_another_place_shares_what_is_far(text: str, at: int) -> None:
    there, here = split_far(text)[0], split_far(text[:at])[0]
    assert there.startswith(here)


def test_a_short_prefix_is_near() -> None:
    assert split_far("x = 1\n" * 170) == ("", "x = 1\n" * 170)
    far, near = split_far("x = 1\n" * 171)
    assert len(far) == 510, "the start of a line"
    assert len(near) == 516


def test_a_long_prefix_leaves_less_room_for_the_suffix() -> None:
    suffix = "y = 2\n" * 1000

    def room(num_chars: int) -> int:
        cut = window("x" * num_chars, suffix, max_prefix_chars=8000, max_suffix_chars=2400)
        return len(cut.suffix)

    assert room(0) == room(599) == 2400
    assert room(600) == room(1199) == 1800
    assert room(1200) == room(30_000) == 1200
