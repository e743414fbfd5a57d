import numpy as np
import pytest

from sampler.lookup import lookup_draft


@pytest.mark.parametrize(
    ("tokens", "num_drafts", "expected"),
    [
        ([1, 2, 3, 4, 9, 1, 2], 3, [3, 4, 9]),
        ([1, 2, 3, 4, 9, 1, 2], 1, [3]),
        ([1, 2, 7, 1, 2, 8, 1, 2], 2, [8, 1]),  # the latest occurrence
        ([1, 2, 3, 5, 9, 2, 3, 6, 1, 2, 3], 1, [5]),  # the longest tail beats the latest
        ([1, 2, 3, 4], 5, []),
        ([1], 5, []),
        ([], 5, []),
        ([1, 2, 3, 1, 2], 0, []),
        ([4, 4, 4, 4], 2, [4]),  # a run may overlap its own tail
    ],
)
def test_lookup_draft(tokens, num_drafts, expected):
    drafts, match_length = lookup_draft(np.array(tokens, dtype=np.int64), num_drafts)
    assert drafts == expected
    assert (2 <= match_length <= 4) == bool(expected)
