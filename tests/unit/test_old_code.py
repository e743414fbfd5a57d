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


def test_a_deletion_costs_a_token_or_two():
    assert num_guessed(OLD, [*OLD[:20], *OLD[23:]]) == 56
    assert num_guessed(OLD, [*OLD[:20], *OLD[30:]]) == 48


def test_renaming_everywhere_costs_the_name_once():
    old = [token for i in range(12) for token in (i + 100, 7, 8)]
    new = [token if token != 7 else 9 for token in old]
    assert num_guessed(old, new) == len(old) - 1
    code = OldCode(old)
    code.follow(new[:3])
    assert code.drafts(6) == new[3:9]
    assert code.drafts(5) == new[3:8]
    code.follow(new[3:5])
    assert code.run == 3, "all that was drafted since the name"


def test_a_name_of_several_tokens_is_replaced_as_a_whole():
    old = [token for i in range(6) for token in (i + 100, i + 200, 7, 8, 40)]
    new = [token for i in range(6) for token in (i + 100, i + 200, 1, 2, 3, 40)]
    code = OldCode(old)
    code.follow(new[:8])
    assert code.drafts(10) == new[8:18]
    code.follow(new[8:9])
    assert code.drafts(3) == [2, 3, 40]


def test_what_is_not_replaced_everywhere_is_unlearned():
    old = [token for i in range(12) for token in (i + 100, 7, 8)]
    new = [100, 9, 8, *old[3:]]
    assert num_guessed(old, new) == len(old) - 2, "the one that was, and the first that was not"


def test_a_replacement_that_ends_otherwise_is_learned_anew():
    old = [token for i in range(6) for token in (i + 100, i + 200, 7, 8, 40)]
    new = [100, 200, 1, 2, 40, 101, 201, 1, 3]
    code = OldCode(old)
    code.follow(new[:8])
    assert code.drafts(2) == [2, 40]
    code.follow(new[8:])
    assert code.run == 0
    code.follow([40, 102, 202])
    assert code.drafts(3) == [1, 3, 40]


def test_a_lone_token_far_ahead_does_not_tell_the_place():
    old = [*OLD[:10], 5, *OLD[10:]]
    code = OldCode(old)
    code.follow([*OLD[:2], 1, 5])
    assert code.drafts(2) != OLD[10:12]
    code.follow([OLD[10]])
    assert code.drafts(2) == OLD[11:13]


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
