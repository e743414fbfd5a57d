import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from model.noise import seeded_generator
from training.corruption import EditMix, corrupt, num_edits

SEQUENCE = torch.arange(100, 200)
ONLY = {"delete": 0.0, "insert": 0.0, "substitute": 0.0}
ONLY_SOURCE = {"own_argmax": 0.0, "neighbor": 0.0, "uniform": 0.0}
SUBSTITUTE = ONLY | {"substitute": 1.0}


def run(alpha=0.1, seed=0, tokens=SEQUENCE, **options):
    return corrupt(tokens, alpha, seeded_generator(seed), id_range=range(500, 600), **options)


weights = st.floats(0, 3)


@given(
    tokens=st.lists(st.integers(0, 5), max_size=40),
    alpha=st.floats(0, 1),
    seed=st.integers(0, 10_000),
    has_guesses=st.booleans(),
    mix=st.builds(EditMix, weights, weights, weights, weights, weights, weights),
    settled_share=st.floats(0, 1),
)
def test_distance_is_bounded_by_the_number_of_edits(
    tokens, alpha, seed, has_guesses, mix, settled_share
):
    num_settled = int(settled_share * len(tokens))
    x0_T = torch.tensor(tokens, dtype=torch.long)
    xt_T = corrupt(
        x0_T,
        alpha,
        seeded_generator(seed),
        id_range=range(3, 8),
        argmax_T=(x0_T + 1) % 6 if has_guesses else None,
        mix=mix,
        num_settled=num_settled,
    )
    assert Levenshtein.distance(tokens, xt_T.tolist()) <= num_edits(len(tokens), alpha)
    assert xt_T.tolist()[:num_settled] == tokens[:num_settled]
    assert x0_T.tolist() == tokens
    assert ((xt_T >= 0) & (xt_T < 8)).all()


@pytest.mark.parametrize(
    ("count", "alpha", "expected"), [(100, 0.1, 10), (19, 0.1, 1), (9, 0.1, 0)]
)
def test_number_of_edits_is_rounded_down(count, alpha, expected):
    assert num_edits(count, alpha) == expected


def test_without_edits_nothing_changes():
    assert torch.equal(run(alpha=0), SEQUENCE)


def test_edits_happen():
    distances = [Levenshtein.distance(SEQUENCE.tolist(), run(seed=s).tolist()) for s in range(50)]
    assert max(distances) <= 10
    # Few of ten edits on a hundred tokens meet each other.
    assert sum(distances) / 50 > 9


def test_equal_seeds_give_equal_results_and_others_do_not():
    assert torch.equal(run(seed=4), run(seed=4))
    assert not torch.equal(run(seed=4), run(seed=5))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_arrays_do_as_well_as_tensors(dtype):
    as_array = run(tokens=SEQUENCE.numpy().astype(dtype))
    assert as_array.dtype == torch.long
    assert torch.equal(as_array, run())


def test_deletions_only_leave_a_subsequence():
    result = run(mix=EditMix(**ONLY | {"delete": 1.0})).tolist()
    assert len(result) == 90
    assert set(result) < set(SEQUENCE.tolist())


def test_insertions_only_keep_every_token():
    result = run(mix=EditMix(**ONLY | {"insert": 1.0})).tolist()
    assert len(result) == 110
    assert Levenshtein.distance(SEQUENCE.tolist(), result) == 10
    rest = iter(result)
    assert all(token in rest for token in SEQUENCE.tolist())


def test_insertions_reach_the_very_end_and_not_the_settled_start():
    mix = EditMix(**ONLY | {"insert": 1.0}, **ONLY_SOURCE | {"uniform": 1.0})
    places = {
        run(alpha=0.34, seed=s, tokens=torch.tensor([1, 2, 3]), mix=mix, num_settled=1)
        .ge(500)
        .int()
        .argmax()
        .item()
        for s in range(60)
    }
    assert places == {1, 2, 3}


def test_substitutions_by_the_models_own_guess():
    guesses = SEQUENCE + 1000
    mix = EditMix(**SUBSTITUTE, **ONLY_SOURCE | {"own_argmax": 1.0})
    result = run(mix=mix, argmax_T=guesses)
    is_changed = result != SEQUENCE
    assert 5 <= is_changed.sum() <= 10
    assert torch.equal(result[is_changed], guesses[is_changed])


def test_a_right_guess_is_no_substitution():
    mix = EditMix(**SUBSTITUTE, **ONLY_SOURCE | {"own_argmax": 1.0})
    assert torch.equal(run(mix=mix, argmax_T=SEQUENCE), SEQUENCE)
    # The other sources step in, and what they changed is not put right by the guess.
    result = run(alpha=1, argmax_T=SEQUENCE, mix=EditMix(**SUBSTITUTE))
    assert torch.equal(result, run(alpha=1, mix=EditMix(**SUBSTITUTE)))
    assert not torch.equal(result, SEQUENCE)


def test_guesses_move_with_their_tokens():
    """After deletions, a token's guess is still its own."""
    mix = EditMix(delete=1, insert=0, substitute=1, own_argmax=1, neighbor=0, uniform=0)
    result = run(alpha=0.8, mix=mix, argmax_T=SEQUENCE + 1000).tolist()
    originals = [token - 1000 if token >= 1000 else token for token in result]
    assert len(originals) < 100
    assert any(token >= 1000 for token in result)
    assert originals == sorted(set(originals))


def test_substitutions_by_a_neighbor_of_either_side():
    mix = EditMix(**SUBSTITUTE, **ONLY_SOURCE | {"neighbor": 1.0})
    differences = [(run(alpha=0.01, seed=s, mix=mix) - SEQUENCE) for s in range(30)]
    assert all(difference.count_nonzero() == 1 for difference in differences)
    assert {int(difference.sum()) for difference in differences} == {-1, 1}


def test_insertions_repeat_a_neighbor():
    mix = EditMix(**ONLY | {"insert": 1.0}, **ONLY_SOURCE | {"neighbor": 1.0})
    inserted = [run(alpha=0.5, seed=s, tokens=torch.tensor([1, 2]), mix=mix) for s in range(60)]
    assert {tuple(result.tolist()) for result in inserted} == {(1, 1, 2), (1, 2, 2)}


def test_a_token_never_replaces_itself():
    """All neighbors are equal, so the other source has to step in."""
    mix = EditMix(**SUBSTITUTE, own_argmax=0, neighbor=9, uniform=1)
    for seed in range(30):
        result = run(alpha=0.01, seed=seed, tokens=torch.full((100,), 7), mix=mix)
        assert (result != 7).sum() == 1


def test_uniform_substitutions_cover_their_range():
    mix = EditMix(**SUBSTITUTE, **ONLY_SOURCE | {"uniform": 1.0})
    drawn = torch.cat([run(seed=s, alpha=0.5, mix=mix) for s in range(40)])
    drawn = drawn[drawn >= 500]
    assert drawn.min() == 500
    assert drawn.max() == 599
    assert drawn.float().mean().item() == pytest.approx(549.5, abs=4)


def test_edits_come_in_the_proportions_of_the_mix():
    """On average 1 : 1 : 2, so length stays and half the edits are substitutions."""
    results = [run(seed=s).tolist() for s in range(200)]
    assert sum(map(len, results)) / 200 == pytest.approx(100, abs=0.6)
    edits = [op.tag for xt in results for op in Levenshtein.editops(SEQUENCE.tolist(), xt)]
    assert edits.count("replace") / len(edits) == pytest.approx(0.5, abs=0.05)
