"""Packed records and blocks against a reference that runs each block alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.adapter import Adapter, AdapterConfig
from model.config import NAMED
from model.network import KVCache, Transformer
from training.batch import (
    PADDING,
    clean_visibility,
    draw_starts,
    group_blocks,
    lay_blocks,
    noisy_visibility,
    pack_clean,
    weigh_path,
)

CONFIG = NAMED["debug"]
MASK = CONFIG.mask_id


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(5)
    network = Transformer(CONFIG).eval().requires_grad_(False)
    network.adapter = Adapter(CONFIG, AdapterConfig(4, 8.0))
    network.adapter.start_mask_at(network.embedding.weight)
    network.adapter.randomize()
    return network


def blocks(lengths, places, masks):
    generator = torch.Generator().manual_seed(sum(lengths))
    records = [torch.randint(0, 500, (length,), generator=generator) for length in lengths]
    clean = pack_clean(records)
    record_N = torch.tensor([record for record, _ in places])
    start_N = torch.tensor([start for _, start in places])
    is_masked_NL = torch.tensor(masks)
    noisy = lay_blocks(clean, record_N, start_N, is_masked_NL, 2.0 * is_masked_NL, MASK)
    return records, clean, noisy


def hidden_of(model, clean, noisy):
    """As training does it: the clean part once without gradient, all blocks over its K/V."""
    size = len(clean.ids_S)
    cache = KVCache.allocate(CONFIG, size, dtype=torch.float32, device=torch.device("cpu"))
    with torch.no_grad():
        clean_hidden = model.hidden(
            clean.ids_S[None],
            cache=cache,
            attention=clean_visibility(clean)[None, None],
            positions_T=clean.position_S,
        )
    noisy_hidden = model.hidden(
        noisy.ids_T[None],
        cache=cache,
        start=size,
        attention=noisy_visibility(clean, noisy)[None, None],
        gate_BT=noisy.is_masked_T[None],
        positions_T=noisy.position_T,
        keeps_kv=False,
    )
    return clean_hidden[0], noisy_hidden[0]


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_each_block_alone_over_its_own_record_gives_the_same(model, data):
    lengths = data.draw(st.lists(st.integers(3, 20), min_size=1, max_size=3))
    places = data.draw(
        st.lists(
            st.integers(0, len(lengths) - 1).flatmap(
                lambda record: st.tuples(st.just(record), st.integers(0, lengths[record] - 1))
            ),
            min_size=1,
            max_size=5,
        )
    )
    num_slots = data.draw(st.integers(2, 6))
    row = st.lists(st.booleans(), min_size=num_slots - 1, max_size=num_slots - 1)
    masks = [[False, *data.draw(row)] for _ in places]
    records, clean, noisy = blocks(lengths, places, masks)
    clean_hidden, noisy_hidden = hidden_of(model, clean, noisy)

    for index, (record, start) in enumerate(places):
        ids = noisy.ids_T[index * num_slots : (index + 1) * num_slots]
        cache = KVCache.allocate(CONFIG, 40, dtype=torch.float32, device=torch.device("cpu"))
        model.hidden(records[record][None, :start], cache=cache) if start else None
        alone = model.hidden(
            ids[None], cache=cache, start=start, attention="canvas", gate_BT=(ids == MASK)[None]
        )
        together = noisy_hidden[index * num_slots : (index + 1) * num_slots]
        torch.testing.assert_close(together, alone[0], atol=1e-4, rtol=0)
        # The first row says what the AR model says at the same place.
        first = noisy.clean_T[index * num_slots]
        torch.testing.assert_close(together[0], clean_hidden[first], atol=1e-4, rtol=0)
    for record, ids in enumerate(records):
        own = clean_hidden[clean.record_S == record]
        torch.testing.assert_close(own, model.hidden(ids[None])[0], atol=1e-4, rtol=0)


def test_targets_and_rows_that_draft():
    _, clean, noisy = blocks([6, 5], [(0, 1), (1, 3)], [[False, True, True, False]] * 2)
    a, b = clean.ids_S[:6].tolist(), clean.ids_S[6:].tolist()
    assert noisy.ids_T.tolist() == [a[1], MASK, MASK, a[4], b[3], MASK, MASK, MASK]
    assert noisy.target_T.tolist() == [*a[2:6], b[4], PADDING, PADDING, PADDING]
    # Row 0 is settled, the last row predicts beyond the block, and nothing follows a record's end.
    assert noisy.weight_T.tolist() == [0, 2, 0, 0] + [0] * 4
    assert noisy.position_T.tolist() == [1, 2, 3, 4, 3, 4, 5, 6]


def test_blocks_hold_text_only_and_not_too_many_of_them_the_target():
    record = torch.tensor([500, 1, 2, 3, 500, 4, 5, 6, 7, 8, 9, 501])
    special = torch.tensor([500, 501])
    generator = torch.Generator().manual_seed(0)
    # Over 3 slots no block holds 500; 501 ends the record and may be drafted.
    starts = draw_starts(record, 8, special, 400, 3, generator)
    assert set(starts.tolist()) == {1, 5, 6, 7, 8, 9, 10}
    assert int((starts >= 8).sum()) == pytest.approx(400 * 3 / 7, abs=3)
    # Half of the blocks in a long target, and none twice as long as there are places.
    starts = draw_starts(torch.arange(100), 20, special, 40, 3, generator)
    assert 20 <= int((starts >= 20).sum()) <= 40
    own, others = starts[:20].tolist(), starts[20:].tolist()
    assert min(own) >= 20
    assert len(set(own)) == len(own)
    assert len(set(others)) == len(others)
    assert len(draw_starts(torch.tensor([500, 500]), 0, special, 4, 3, generator)) == 0


def test_all_places_of_a_target_that_the_model_wrote_are_used():
    special, generator = torch.tensor([500]), torch.Generator().manual_seed(0)
    starts = draw_starts(torch.arange(100), 80, special, 40, 3, generator, is_own=True)
    assert set(starts[:19].tolist()) == set(range(80, 99))  # the last token is no first slot
    assert len(starts) == 40
    starts = draw_starts(torch.arange(100), 20, special, 40, 3, generator, is_own=True)
    assert int(starts.min()) >= 20


def test_no_gradient_leaves_the_adapter(model):
    _, clean, noisy = blocks([12], [(0, 2), (0, 5)], [[False, True, True, True]] * 2)
    clean_hidden, noisy_hidden = hidden_of(model, clean, noisy)
    assert not clean_hidden.requires_grad
    noisy_hidden[noisy.weight_T > 0].square().sum().backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient
    assert all(name.startswith("adapter.") for name in with_gradient)
    assert model.adapter.mask_embedding.grad.abs().sum() > 0
    model.zero_grad()


def test_a_change_behind_a_block_is_not_seen(model):
    """Nor is one in another block: what a block sees ends where it begins."""
    records, clean, noisy = blocks([14], [(0, 4), (0, 8)], [[False, True, True]] * 2)
    _, before = hidden_of(model, clean, noisy)
    changed = pack_clean([torch.cat([records[0][:8], (records[0][8:] + 1) % 500])])
    is_masked_NL = noisy.is_masked_T.view(2, 3)
    places = torch.tensor([0, 0]), torch.tensor([4, 8])
    noisy_changed = lay_blocks(changed, *places, is_masked_NL, 1.0 * is_masked_NL, MASK)
    _, after = hidden_of(model, changed, noisy_changed)
    torch.testing.assert_close(before[:3], after[:3], atol=1e-6, rtol=0)
    assert not torch.allclose(before[3:], after[3:], atol=1e-3)


def test_groups_hold_whole_blocks_in_the_order_of_their_places():
    places = [(1, 4), (0, 9), (0, 2), (1, 0), (0, 3)]
    _, _, noisy = blocks([14, 9], places, [[False, True, True]] * len(places))
    groups = group_blocks(noisy, 7)
    assert [len(group.ids_T) for group in groups] == [6, 6, 3]
    starts = [int(start) for group in groups for start in group.clean_T[::3]]
    assert starts == sorted(int(start) for start in noisy.clean_T[::3])
    for group in groups:
        for block in group.block_T.unique():
            rows = noisy.rows(noisy.block_T == block)
            again = group.rows(group.block_T == block)
            assert torch.equal(rows.ids_T, again.ids_T)
            assert torch.equal(rows.position_T, again.position_T)


def test_rows_behind_what_the_base_would_not_write_weigh_less():
    places, masks = [(0, 2), (0, 5)], [[False, True, True, True]] * 2
    _, _, noisy = blocks([12], places, masks)
    is_ar_S = torch.ones(12, dtype=torch.bool)
    is_ar_S[3] = False  # the base would not have written token 4
    weighed = weigh_path(noisy, is_ar_S, 0.25)
    factor_NL = (weighed.weight_T / noisy.weight_T.clamp(min=1e-9)).view(2, 4)
    # Block 0 has tokens 2 … 5: rows of 4 and 5 come behind the token that is not the base's.
    assert factor_NL[0, 1] == 1
    assert factor_NL[0, 2] == 0.25
    assert factor_NL[1, 1:3].tolist() == [1, 1]
