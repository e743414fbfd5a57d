"""The native CPU kernels against the network in PyTorch, and against themselves, bit for bit."""

import copy
import inspect
import itertools
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from model.coupling import NUM_CANDIDATES, Coupling
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import read_vocabulary
from model.masks import Branches
from model.network import KVCache
from model.weights import load_model
from sampler.kernels.cpu.native import NUM_DRAFT_IDS, NativeModel
from sampler.policy import shares
from sampler.runner import next_ids
from tests.native_parts import (
    CPU,
    DEBUG,
    MASK,
    PATHS,
    SHAPES,
    native,
    needs_library,
    network,
    random_ids,
    relative_error,
)


@needs_library
@pytest.mark.parametrize("shape", SHAPES)
@torch.inference_mode()
def test_logits_are_those_of_pytorch_but_for_rounding(shape: str) -> None:
    ids_BT = random_ids(90)
    actual, expected = native(shape)(ids_BT), network(shape)(ids_BT)
    assert actual.shape == expected.shape
    assert relative_error(actual, expected) < (0.05 if shape == "large" else 0.03)
    # What int8 costs is noise, not a shift that a mistake in one part would be.
    assert abs(float((actual - expected).mean())) < 0.01 * float(expected.std())


@needs_library
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", SHAPES)
@torch.inference_mode()
def test_all_paths_and_thread_counts_give_the_same_bits(shape: str, path: str) -> None:
    ids_BT = random_ids(75)
    ids_BT[0, 60:] = SHAPES[shape].mask_id
    gate_BT = ids_BT == SHAPES[shape].mask_id
    reference = native(shape, True, "portable", 1)
    expected = reference(ids_BT, gate_BT=gate_BT)
    judged = reference.judge(ids_BT, gate_BT=gate_BT)
    for threads in (1, 2, 3):
        model = native(shape, True, path, threads)
        assert model.path == path
        assert torch.equal(model(ids_BT, gate_BT=gate_BT), expected)
        other = model.judge(ids_BT, gate_BT=gate_BT)
        assert torch.equal(other.tokens_L, judged.tokens_L)
        assert torch.equal(other.confidence_L, judged.confidence_L)
        assert torch.equal(other.shares_L, judged.shares_L)


@needs_library
@settings(max_examples=30, deadline=None)
@given(cuts=st.sets(st.integers(1, 99), max_size=12), path=st.sampled_from(PATHS))
def test_rows_at_once_are_rows_one_by_one_bit_for_bit(cuts: set[int], path: str) -> None:
    model, ids_BT = native(path=path), random_ids(100)
    expected = model(ids_BT)
    cache = model.allocate(100)
    edges = [0, *sorted(cuts), 100]
    parts = [
        model(ids_BT[:, begin:end], cache=cache, start=begin)
        for begin, end in itertools.pairwise(edges)
    ]
    assert torch.equal(torch.cat(parts, dim=1), expected)


@needs_library
@pytest.mark.parametrize("path", PATHS)
def test_every_number_of_rows_gives_the_bits_of_one_row(path: str) -> None:
    model, ids_BT = native("odd", path=path), random_ids(45)
    cache = model.allocate(45)
    single = [model(ids_BT[:, i : i + 1], cache=cache, start=i)[:, 0] for i in range(45)]
    expected = torch.stack(single, dim=1)
    for num_rows in range(1, 46):
        assert torch.equal(model(ids_BT[:, :num_rows]), expected[:, :num_rows])


@needs_library
@pytest.mark.parametrize("path", PATHS)
@torch.inference_mode()
def test_a_canvas_sees_all_of_itself_but_for_its_first_row(path: str) -> None:
    ids_BT = random_ids(40)
    ids_BT[0, 29:] = MASK
    ids_BT[0, 33] = 7
    plain, model = network(has_adapter=True), native(has_adapter=True, path=path)
    kv = KVCache.allocate(DEBUG, 40, dtype=torch.float32, device=CPU)
    plain(ids_BT[:, :28], cache=kv)
    cache = model.allocate(40)
    context = model(ids_BT[:, :28], cache=cache)
    canvas_BT = ids_BT[:, 28:]
    gate_BT = canvas_BT == MASK
    rows = slice(0, 11)
    expected = plain(canvas_BT, cache=kv, start=28, attention="canvas", gate_BT=gate_BT, rows=rows)
    actual = model(canvas_BT, cache=cache, start=28, attention="canvas", gate_BT=gate_BT, rows=rows)
    assert relative_error(actual, expected) < 0.05
    causal = model(canvas_BT, cache=cache, start=28)
    assert torch.equal(actual[:, 0], causal[:, 0]), "the settled row sees no draft"
    assert not torch.equal(actual[:, 1], causal[:, 1])
    assert torch.equal(model(ids_BT[:, :28]), context), "the context is as it was"


@needs_library
@pytest.mark.parametrize("path", PATHS)
@torch.inference_mode()
def test_branches_neither_touch_the_chain_nor_each_other(path: str) -> None:
    plain, model = network(has_adapter=True), native(has_adapter=True, path=path)
    context_BT, chain_BT = random_ids(30), random_ids(3, seed=1)
    kv = KVCache.allocate(DEBUG, 60, dtype=torch.float32, device=CPU)
    plain(context_BT, cache=kv)
    cache = model.allocate(60)
    model(context_BT, cache=cache)
    causal = model(chain_BT, cache=cache, start=30)
    for sizes in [(4, 0, 2), (0, 0, 9), (1, 2, 3), (0, 0, 0)]:
        branches = Branches(sizes)
        masks_BT = torch.full((1, sum(sizes)), MASK)
        ids_BT = torch.cat([chain_BT, masks_BT], dim=1)
        call = {"start": 30, "attention": branches, "gate_BT": ids_BT == MASK}
        actual = model(ids_BT, cache=cache, **call)
        assert torch.equal(actual[:, :3], causal), "the chain is judged as without branches"
        assert relative_error(actual, plain(ids_BT, cache=kv, **call)) < 0.05
        judged = model.judge(ids_BT, cache=cache, **call)
        assert torch.equal(judged.tokens_L, actual[0].argmax(-1))
        for row, size in enumerate(sizes):
            alone = Branches((0,) * row + (size,))
            gate_BT = torch.arange(alone.num_rows)[None] > row
            ids_alone_BT = torch.where(gate_BT, MASK, ids_BT[:, : alone.num_rows])
            expected = model(ids_alone_BT, cache=cache, start=30, attention=alone, gate_BT=gate_BT)
            torch.testing.assert_close(
                actual[:, branches.branch(row)],
                expected[:, alone.branch(row)],
                atol=1e-3,
                rtol=1e-3,
            )


@needs_library
@pytest.mark.parametrize("path", PATHS)
@torch.inference_mode()
def test_the_adapter_acts_on_gated_rows_only(path: str) -> None:
    ids_BT = random_ids(50)
    base, model = native(path=path), native(has_adapter=True, path=path)
    assert base.adapter is None
    assert model.adapter is not None
    assert torch.equal(model(ids_BT), base(ids_BT))
    gate_BT = torch.zeros(1, 50, dtype=torch.bool)
    assert torch.equal(model(ids_BT, gate_BT=gate_BT), base(ids_BT))
    gate_BT[0, 37:41] = True
    gated = model(ids_BT, gate_BT=gate_BT)
    assert torch.equal(gated[:, :37], base(ids_BT)[:, :37])
    attention = torch.ones(50, 50, dtype=torch.bool).tril()
    expected = network(has_adapter=True)(ids_BT, gate_BT=gate_BT, attention=attention)
    assert relative_error(gated, expected) < 0.05
    assert relative_error(base(ids_BT)[:, 37:41], expected[:, 37:41]) > 0.3


@needs_library
def test_an_adapter_comes_and_goes() -> None:
    ids_BT = torch.tensor([[3, 5, MASK, MASK]])
    gate_BT = ids_BT == MASK
    model = NativeModel(network(), threads=1)
    without = model(ids_BT, gate_BT=gate_BT)
    model.adapter = network(has_adapter=True).adapter
    assert torch.equal(
        model(ids_BT, gate_BT=gate_BT), native(has_adapter=True)(ids_BT, gate_BT=gate_BT)
    )
    model.adapter = None
    assert torch.equal(model(ids_BT, gate_BT=gate_BT), without)
    assert relative_error(without, network()(ids_BT)) < 0.03, "MASK is the mean embedding"


@needs_library
@pytest.mark.parametrize("rows", [slice(0, 0), slice(59, 60), slice(7, 30), None])
@pytest.mark.parametrize("shape", ["debug", "odd"])
def test_rows_with_logits_are_a_slice_of_all(shape: str, rows: slice | None) -> None:
    model, ids_BT = native(shape), random_ids(60)
    expected = model(ids_BT)[:, rows or slice(None)]
    assert torch.equal(model(ids_BT, rows=rows), expected)
    judged = model.judge(ids_BT, rows=rows)
    assert torch.equal(judged.tokens_L, expected[0].argmax(-1))
    confidence_L = expected[0].softmax(-1).amax(-1)
    torch.testing.assert_close(judged.confidence_L, confidence_L, atol=1e-5, rtol=1e-5)
    behind = next_ids(ids_BT, model.config.mask_id)[rows or slice(None)]
    assert torch.equal(judged.shares_L == 0, behind == model.config.mask_id)
    torch.testing.assert_close(judged.shares_L, shares(expected[0], behind), atol=1e-5, rtol=1e-5)


@needs_library
@torch.inference_mode()
def test_a_large_vocabulary_is_screened_by_the_leading_bits_of_the_head() -> None:
    """What is chosen is the best of whole logits, and what is said of it is of these, too."""
    model, ids_BT = native("large"), random_ids(90)
    logits_RV = model(ids_BT)[0]
    judged = model.judge(ids_BT)
    p_RV = logits_RV.softmax(-1)
    best_R = logits_RV.argmax(-1)
    is_best_R = judged.tokens_L == best_R
    assert int((~is_best_R).sum()) <= 1, "an id that hides behind another of its lane"
    torch.testing.assert_close(
        judged.confidence_L[is_best_R], p_RV.amax(-1)[is_best_R], rtol=0.05, atol=0
    )
    next_R = ids_BT[0, 1:]
    shares_R = p_RV[:-1].gather(1, next_R[:, None])[:, 0] / p_RV[:-1].amax(-1)
    torch.testing.assert_close(
        judged.shares_L[:-1][is_best_R[:-1]], shares_R[is_best_R[:-1]], rtol=1e-3, atol=1e-6
    )
    greedy_BT = judged.tokens_L[None]
    assert float(model.judge(greedy_BT).shares_L.max()) <= 1
    asked = model.judge(ids_BT, needs_logits=True)
    assert torch.equal(asked.logits, logits_RV)
    assert torch.equal(asked.tokens_L, judged.tokens_L)
    assert torch.equal(asked.confidence_L, judged.confidence_L)


@needs_library
@pytest.mark.parametrize("path", PATHS)
@torch.inference_mode()
def test_drafts_choose_among_the_first_ids(path: str) -> None:
    config = SHAPES["large"]
    model, ids_BT = native("large", True, path), random_ids(60)
    branches = Branches((2,) * 20)
    ids_BT[0, 20:] = config.mask_id
    gate_BT = ids_BT == config.mask_id
    logits_RV = model(ids_BT, gate_BT=gate_BT, attention=branches)[0]
    judged = model.judge(ids_BT, gate_BT=gate_BT, attention=branches)
    assert int((logits_RV[20:].argmax(-1) >= NUM_DRAFT_IDS).sum()) > 0, "the case occurs"
    expected_R = torch.cat([logits_RV[:20].argmax(-1), logits_RV[20:, :NUM_DRAFT_IDS].argmax(-1)])
    assert int((judged.tokens_L != expected_R).sum()) <= 1
    p_R = logits_RV[20:, :NUM_DRAFT_IDS].softmax(-1).amax(-1)
    torch.testing.assert_close(judged.confidence_L[20:], p_R, rtol=0.05, atol=0)
    # Without branches there are no drafts: a canvas, for one, is what is shown.
    denoised = model.judge(ids_BT, gate_BT=gate_BT)
    whole_RV = model(ids_BT, gate_BT=gate_BT)[0]
    assert int((denoised.tokens_L != whole_RV.argmax(-1)).sum()) <= 1
    assert int((denoised.tokens_L >= NUM_DRAFT_IDS).sum()) > 0


@needs_library
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", ["debug", "tied", "odd"])
@torch.inference_mode()
def test_candidates_are_the_best_of_the_logits(shape: str, path: str) -> None:
    config = SHAPES[shape]
    plain = copy.deepcopy(network(shape, has_adapter=True))
    assert plain.adapter is not None
    plain.adapter.coupling = Coupling(config.width, 5).requires_grad_(False)
    plain.adapter.config = replace(plain.adapter.config, coupling_rank=5)
    model = NativeModel(plain, threads=2, path=path)
    ids_BT = random_ids(40)
    ids_BT[0, 30:] = config.mask_id
    gate_BT = ids_BT == config.mask_id
    log_p_LV = model(ids_BT, gate_BT=gate_BT)[0].log_softmax(-1)
    for first in (0, 31):
        rows = slice(first, 39)
        judged = model.judge(ids_BT, gate_BT=gate_BT, rows=rows)
        assert judged.candidates is not None
        asked = model.judge(ids_BT, gate_BT=gate_BT, rows=rows, needs_logits=True)
        assert torch.equal(asked.logits, model(ids_BT, gate_BT=gate_BT, rows=rows)[0])
        assert torch.equal(asked.tokens_L, judged.tokens_L)
        assert asked.candidates is not None
        assert torch.equal(asked.candidates.ids_LK, judged.candidates.ids_LK)
        masked = judged.candidates.rows(slice(30 - first if first < 30 else 0, None))
        expected_LV = log_p_LV[30 if first < 30 else first : 39]
        # One of each lane of 16 and chunk of 512 ids: the rest are those of a plain search.
        padded_LV = F.pad(expected_LV, (0, -config.vocab_size % 512), value=-torch.inf)
        lanes_LCT = padded_LV.view(len(padded_LV), -1, 32, 16).amax(2)
        torch.testing.assert_close(
            masked.log_p_LK, lanes_LCT.flatten(1).topk(NUM_CANDIDATES).values, atol=1e-4, rtol=1e-4
        )
        found_LK = expected_LV.gather(1, masked.ids_LK)
        torch.testing.assert_close(masked.log_p_LK, found_LK, atol=1e-4, rtol=1e-4)
        assert torch.equal(masked.ids_LK[:, 0], expected_LV.argmax(-1))
        logits_LV = F.linear(masked.hidden_LD, plain.head.weight)
        assert relative_error(logits_LV.log_softmax(-1), expected_LV) < 0.02
        chosen, _ = model.couple(masked, 3)
        assert chosen == expected_LV.argmax(-1).tolist(), "a fresh coupling changes nothing"
        plain.adapter.coupling.back.normal_(std=0.1)
        model.adapter = plain.adapter
        tokens, before, num_same = [], 3, 0
        for row in range(len(masked.ids_LK)):
            alone = masked.rows(slice(row, row + 1))
            (token,), (probability,) = model.couple(alone, before)
            (expected,), (share,) = plain.couple(alone, before)
            num_same += token == expected and abs(probability - share) < 0.05
            tokens.append(token)
            before = token
        assert num_same >= len(tokens) - 1, "8-bit tables may tip one"
        assert model.couple(masked, 3)[0] == tokens
        assert tokens != chosen
        plain.adapter.coupling.back.zero_()
        model.adapter = plain.adapter
    assert model.judge(ids_BT, rows=slice(0, 5)).candidates is None, "no row is gated"


@needs_library
def test_keys_and_values_of_rows_without_logits_are_in_the_cache() -> None:
    model, ids_BT = native(), random_ids(60)
    cache = model.allocate(60)
    model(ids_BT[:, :59], cache=cache, rows=slice(0, 0))
    last = model(ids_BT[:, 59:], cache=cache, start=59)
    assert torch.equal(last[0, 0], model(ids_BT)[0, 59])


@needs_library
@pytest.mark.weights
@pytest.mark.slow
@torch.inference_mode()
def test_the_real_model_says_what_it_says_in_bfloat16(weights_path: Path) -> None:
    tokenizer = Tokenizer(read_vocabulary(weights_path))
    ids_BT = torch.tensor([tokenizer.encode(inspect.getsource(textwrap))[:600]])
    model = load_model(weights_path, dtype=torch.bfloat16, device=CPU)
    expected_TV = model(ids_BT)[0].log_softmax(-1)
    packed = NativeModel(model)
    actual_TV = packed(ids_BT)[0].log_softmax(-1)
    agreement = float((actual_TV.argmax(-1) == expected_TV.argmax(-1)).float().mean())
    divergence = float((expected_TV.exp() * (expected_TV - actual_TV)).sum(-1).mean())
    print(f"top-1 agreement {agreement:.4f}, KL divergence {divergence:.5f} nats")
    assert agreement >= 0.96
    assert divergence < 0.005

    cache = packed.allocate(600)
    edges = [0, 1, 17, 33, 300, 301, 302, 600]
    parts = [
        packed.judge(ids_BT[:, begin:end], cache=cache, start=begin)
        for begin, end in itertools.pairwise(edges)
    ]
    tokens_T = torch.cat([part.tokens_L for part in parts])
    assert torch.equal(tokens_T, packed.judge(ids_BT).tokens_L)
    assert int((tokens_T != actual_TV.argmax(-1)).sum()) <= 1, "an id hidden by one of its lane"
