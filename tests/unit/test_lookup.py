import numpy as np
import pytest

from sampler.lookup import LONGEST_MATCH, Evidence, lookup_draft

SINGLE, AGREED, MIXED = Evidence.SINGLE, Evidence.AGREED, Evidence.MIXED


def drafts_of(tokens, num_drafts):
    drafts = lookup_draft(np.array(tokens, dtype=np.int64), num_drafts)
    return [(one.token, one.match_length, one.evidence) for one in drafts]


@pytest.mark.parametrize(
    ("tokens", "num_drafts", "expected"),
    [
        ([1, 2, 3, 4, 9, 1, 2], 3, [3, 4, 9]),
        ([1, 2, 3, 4, 9, 1, 2], 1, [3]),
        ([1, 2, 7, 1, 2, 8, 1, 2], 2, [8, 1]),  # of equally frequent ones the latest
        ([1, 2, 7, 1, 2, 7, 1, 2, 8, 1, 2], 3, [7, 1, 2]),  # the most frequent
        ([1, 2, 3, 5, 9, 2, 3, 6, 1, 2, 3], 1, [5]),  # the longest tail beats the latest
        ([1, 5, 1], 2, [5, 1]),  # one token will do
        ([1, 2, 3, 4], 5, []),
        ([1], 5, []),
        ([], 5, []),
        ([1, 2, 3, 1, 2], 0, []),
        ([4, 4, 4, 4], 2, [4]),  # a run may overlap its own tail
    ],
)
def test_what_followed_the_tail_is_drafted(tokens, num_drafts, expected):
    assert [token for token, _, _ in drafts_of(tokens, num_drafts)] == expected


def test_a_draft_tells_what_speaks_for_it():
    tokens = [1, 2, 7, 5, 1, 2, 7, 6, 9, 1, 2]
    assert drafts_of(tokens, 3) == [(7, 2, AGREED), (6, 3, MIXED), (9, 4, SINGLE)]
    assert drafts_of([3, 8, 3], 1) == [(8, 1, SINGLE)]


def test_a_match_is_no_longer_than_is_compared():
    tail = list(range(20))
    assert drafts_of([*tail, 99, *tail], 1) == [(99, LONGEST_MATCH, SINGLE)]
