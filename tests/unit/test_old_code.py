from hypothesis import given
from hypothesis import strategies as st

from sampler.old_code import OldCode

TOKENS = st.lists(st.integers(0, 6), max_size=40)


def num_guessed(old, new):
    """Tokens of `new` that were the first draft at their turn."""
    code, count = OldCode(old), 0
    for token in new:
        count += code.drafts(1) == [token]
        code.follow([token])
    return count


OLD = list(range(100, 160))


def test_what_does_not_change_is_drafted():
    assert num_guessed(OLD, OLD) == 60
    code = OldCode(OLD)
    code.follow(OLD[:7])
    assert code.drafts(3) == OLD[7:10]
    assert code.run == 7


def test_a_replaced_token_costs_itself_only():
    new = [*OLD[:20], 1, *OLD[21:]]
    assert num_guessed(OLD, new) == 59


def test_an_insertion_costs_itself_and_at_most_a_token_more():
    new = [*OLD[:20], 1, 2, 3, *OLD[20:]]
    assert num_guessed(OLD, new) == 60
    assert num_guessed(OLD, [*OLD[:20], 1, *OLD[20:]]) >= 59


def test_a_deletion_costs_a_token():
    new = [*OLD[:20], *OLD[30:]]
    assert num_guessed(OLD, new) == 49


def test_renaming_everywhere_costs_the_names():
    old = [token for i in range(12) for token in (i + 100, 7, 8)]
    new = [token if token != 7 else 9 for token in old]
    assert num_guessed(old, new) >= len(old) - 12 - 2


def test_moved_code_is_found_by_more_than_a_token():
    new = [*OLD[30:40], *OLD[:30]]
    assert num_guessed(OLD, new) >= 36


@given(old=TOKENS, new=TOKENS, parts=st.lists(st.integers(1, 5), max_size=20))
def test_it_never_fails_and_how_tokens_arrive_does_not_matter(old, new, parts):
    one, other = OldCode(old), OldCode(old)
    for token in new:
        one.follow([token])
    rest = list(new)
    for size in parts:
        other.follow(rest[:size])
        rest = rest[size:]
    other.follow(rest)
    assert one.drafts(99) == other.drafts(99)
    assert one.run == other.run <= len(new)


@given(TOKENS)
def test_a_copy_is_guessed_whole(old):
    assert num_guessed(old, old) == len(old)
