"""The fast paths of the network against plain ones: tiles against one mask, packed against not."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from model.adapter import Adapter, AdapterConfig
from model.config import NAMED
from model.masks import Branches, attention_tiles
from model.network import KVCache, Transformer, attend
from model.packed import PackedLinear, is_packable, pack
from model.weights import save_model

CPU = torch.device("cpu")
CONFIG = NAMED["debug"]


def network(dtype=torch.float32):
    torch.manual_seed(0)
    return Transformer(CONFIG).to(dtype).eval().requires_grad_(False)


@torch.inference_mode()
@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=5), num_context=st.integers(0, 9))
def test_a_branch_is_a_canvas_behind_its_part_of_the_chain(sizes, num_context):
    model = network()
    model.adapter = Adapter(CONFIG, AdapterConfig(4, 8.0))
    model.adapter.randomize()
    branches, mask = Branches(tuple(sizes)), CONFIG.mask_id
    torch.manual_seed(3)
    context_BT = torch.randint(0, CONFIG.vocab_size, (1, num_context))
    chain_BT = torch.randint(0, CONFIG.vocab_size, (1, len(sizes)))
    cache = KVCache.allocate(
        CONFIG, num_context + branches.num_rows, dtype=torch.float32, device=CPU
    )
    if num_context:
        model(context_BT, cache=cache)
    masks_BT = torch.full((1, sum(sizes)), mask)
    ids_BT = torch.cat([chain_BT, masks_BT], dim=1)
    call = {"cache": cache, "start": num_context}
    actual = model(ids_BT, attention=branches, gate_BT=ids_BT == mask, **call)
    torch.testing.assert_close(actual[:, : len(sizes)], model(chain_BT, **call))
    for row, size in enumerate(sizes):
        canvas_BT = torch.full((1, 1 + size), mask)
        canvas_BT[0, 0] = chain_BT[0, row]
        model(chain_BT[:, : row + 1], **call)
        expected = model(
            canvas_BT,
            cache=cache,
            start=num_context + row,
            attention="canvas",
            gate_BT=canvas_BT == mask,
        )
        torch.testing.assert_close(
            actual[:, branches.branch(row)], expected[:, 1:], atol=1e-4, rtol=1e-4
        )


@settings(max_examples=60, deadline=None)
@given(
    num_rows=st.integers(1, 40),
    start=st.integers(0, 30),
    tile_rows=st.integers(1, 48),
    kind=st.sampled_from(["causal", "canvas", "tensor"]),
    cut=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    seed=st.integers(0, 9),
)
def test_tiles_attend_as_one_mask_over_expanded_heads(num_rows, start, tile_rows, kind, cut, seed):
    generator = torch.Generator().manual_seed(seed)
    num_slots = start + num_rows
    q_BHTK = torch.randn(2, 6, num_rows, 8, generator=generator)
    k_BGSK, v_BGSK = (torch.randn(2, 2, num_slots, 8, generator=generator) for _ in range(2))
    if kind == "causal":
        attention, visible = kind, torch.ones(num_rows, num_slots, dtype=torch.bool).tril(start)
    elif kind == "canvas":
        attention, visible = kind, torch.ones(num_rows, num_slots, dtype=torch.bool)
        visible[0, start + 1 :] = False
    else:
        visible = torch.rand(2, 1, num_rows, num_slots, generator=generator) < 0.5
        visible[..., 0] = True
        attention = visible
    expected = F.scaled_dot_product_attention(
        q_BHTK, k_BGSK.repeat_interleave(3, 1), v_BGSK.repeat_interleave(3, 1), attn_mask=visible
    )
    expected = expected.transpose(1, 2).reshape(2, num_rows, -1)

    rows = range(num_rows)[slice(*cut)]
    tiles = attention_tiles(
        attention,
        rows,
        start,
        num_rows,
        tile_rows=tile_rows,
        group_size=3,
        dtype=torch.float32,
        device=CPU,
    )
    covered = [row for tile in tiles for row in range(tile.rows.start, tile.rows.stop)]
    assert covered == list(rows)
    if tiles:
        actual = torch.cat([attend(q_BHTK, k_BGSK, v_BGSK, tile) for tile in tiles], 1)
        torch.testing.assert_close(actual, expected[:, list(rows)], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_chunk_of_many_tiles_gives_the_logits_of_single_rows():
    model = network()
    ids_BT = torch.randint(0, CONFIG.vocab_size, (1, 300))
    whole = model(ids_BT)
    cache = KVCache.allocate(CONFIG, 300, dtype=torch.float32, device=CPU)
    for position in range(300):
        row = model(ids_BT[:, position : position + 1], cache=cache, start=position)
        torch.testing.assert_close(row[:, 0], whole[:, position], atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_packing_changes_the_speed_only(dtype):
    plain = network(dtype)
    if not is_packable(plain.head):
        pytest.skip("this CPU multiplies no bf16")
    packed = copy.deepcopy(plain)
    pack(packed)
    assert not any(isinstance(module, torch.nn.Linear) for module in packed.modules())
    num_packed = sum(isinstance(module, PackedLinear) for module in packed.modules())
    assert num_packed == 4 * CONFIG.num_layers + 1
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    for num_rows in (1, 7, 130):
        ids_BT = torch.randint(0, CONFIG.vocab_size, (1, num_rows))
        torch.testing.assert_close(packed(ids_BT), plain(ids_BT), atol=tolerance, rtol=0)
    assert packed(ids_BT, rows=slice(0, 0)).shape == (1, 0, CONFIG.vocab_size)


@torch.inference_mode()
def test_packed_layers_take_the_adapter_on_gated_rows_only():
    model = network()
    pack(model)
    ids_BT = torch.arange(3, 15)[None]
    base = model(ids_BT)
    model.adapter = Adapter(CONFIG, AdapterConfig(rank=4, alpha=8.0))
    model.adapter.randomize()
    gate_BT = torch.arange(12)[None] >= 7
    gated = model(ids_BT, gate_BT=gate_BT)
    assert torch.equal(gated[:, :7], base[:, :7])
    assert not torch.allclose(gated[:, 7:], base[:, 7:])


def test_a_tied_head_is_packed_and_the_embedding_stays():
    model = network()
    model.head.weight = model.embedding.weight
    before = model.embedding.weight.clone()
    pack(model)
    assert torch.equal(model.embedding.weight, before)


def test_a_packed_model_is_not_saved(tmp_path):
    model = network()
    pack(model)
    with pytest.raises(AssertionError, match="packed"):
        save_model(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_that_has_inferred_can_still_be_trained():
    model = network()
    ids_BT = torch.arange(3, 15)[None]
    with torch.inference_mode():
        model(ids_BT)
    model.requires_grad_(True)
    model(ids_BT).sum().backward()
    assert model.blocks[0].attention.qkv.weight.grad.abs().sum() > 0


def test_rows_that_have_no_slot_are_a_mistake():
    model = network()
    cache = KVCache.allocate(CONFIG, 8, dtype=torch.float32, device=CPU)
    with pytest.raises(AssertionError, match="no slot"):
        model(torch.arange(6)[None], cache=cache, start=4)
    with pytest.raises(ValueError, match="too many"):
        model(torch.zeros(1, CONFIG.max_positions + 1, dtype=torch.long))
