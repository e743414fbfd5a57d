"""What the bench of edits counts, with a vocabulary in which a character is a token."""

import random

from hypothesis import given
from hypothesis import strategies as st

from model.format.rewriting import action_named
from model.format.selection import select
from model.format.tokenizer import Tokenizer
from tests.bench.bench_edits import bytes_changed_outside
from tests.bench.edit_cases import definitions, one_place
from tests.tiny import tiny_vocabulary
from training.evaluation.old_code import kept_tokens

TOKENIZER = Tokenizer(tiny_vocabulary())
CODE = st.text("ab =\n", max_size=60)
TEXT = "import os\n\n\nclass A:\n    def f(self, a):\n        b = a\n        return b\n\n\nx = 1\n"


def test_a_copy_keeps_all_and_costs_nothing():
    kept = kept_tokens(TOKENIZER, "a = b\nb = a\n", "\n\na = b\nb = a\n\n")
    assert kept.num_kept == kept.num_old == kept.num_new
    assert (kept.changed, kept.num_unforeseen) == (0.0, 0)


def test_what_is_kept_behind_a_change_is_found_again():
    dice = random.Random(0)
    old = "".join(dice.choice("abcdefghijklmnopqrstuvwxyz =\n") for _ in range(200)) + "x"
    kept = kept_tokens(TOKENIZER, old, f"{old[:80]}1{old[81:]}")
    assert kept.num_kept == kept.num_old - 1
    assert kept.num_unforeseen <= 1


@given(CODE, CODE)
def test_shares_are_shares(old: str, new: str):
    kept = kept_tokens(TOKENIZER, old, new)
    assert 0 <= kept.num_unforeseen <= kept.num_kept <= min(kept.num_old, kept.num_new)
    assert 0.0 <= kept.changed <= 1.0
    assert 0.0 <= kept.unforeseen <= 1.0


def test_bytes_outside_a_selection_are_counted():
    selection = select("python", TEXT, TEXT.index("b ="), TEXT.index("b ="))
    assert selection is not None
    edited = selection.replaced_by("    def f(self):\n        return 'ä'")
    assert bytes_changed_outside(edited.encode(), selection) == 0
    assert bytes_changed_outside(edited.replace("os", "ox").encode(), selection) > 0
    assert bytes_changed_outside(edited.replace("x = 1", "x = 2").encode(), selection) > 0
    assert bytes_changed_outside(edited[:-1].encode(), selection) > 0


def test_a_file_s_first_place_for_an_action():
    assert [(it.name, TEXT[it.start : it.end].split("\n")[0]) for it in definitions(TEXT)] == [
        ("A", "class A:"),
        ("f", "    def f(self, a):"),
    ]
    action = action_named("docstring")
    assert action is not None
    selection = one_place(TEXT, action, most_lines=40)
    assert selection is not None
    assert selection.old.startswith("    def f")
    assert one_place(TEXT, action, most_lines=2) is None
