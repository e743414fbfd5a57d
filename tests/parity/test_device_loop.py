"""The device loop, eagerly on a CPU, against the reference sampler and the plain network."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.adapter import Adapter, AdapterConfig
from model.config import NAMED
from model.network import KVCache, Transformer
from tests.interpreter import DEVICE, HAS_GPU

pytest.importorskip("triton")
from sampler.cuda.arena import Arena, Contexts
from sampler.cuda.kernel_set import TRITON, TWINS
from sampler.cuda.layout import Layout
from sampler.cuda.loop import DeviceLoop, LoopSettings
from sampler.cuda.network import DeviceNetwork
from sampler.denoise import generate
from sampler.policy import UnmaskPolicy

CONFIG = NAMED["debug"]


def network(rank=None, coupling_rank=0):
    torch.manual_seed(4)
    model = Transformer(CONFIG).eval().requires_grad_(False)
    if rank is not None:
        model.adapter = Adapter(CONFIG, AdapterConfig(rank, 2.0 * rank, coupling_rank))
        model.adapter.randomize(0.3)
        model.adapter.start_mask_at(model.embedding.weight)
    return model.to(DEVICE)


BASE, ADAPTED, COUPLED = network(), network(rank=5), network(rank=5, coupling_rank=6)


def completion(loop, context, mode, max_new_tokens, end_ids=frozenset(), sequence=1):
    loop.prefill(sequence, 0, context[:-1])
    steps = list(
        loop.generate(mode, sequence, len(context) - 1, context[-1], max_new_tokens, end_ids)
    )
    return [token for step in steps for token in step.tokens], steps


def context_of(seed, length):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, CONFIG.vocab_size, (length,), generator=generator).tolist()


@settings(max_examples=12, deadline=None)
@given(
    mode=st.sampled_from(["ar", "exact"]),
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=5).map(tuple),
    length=st.integers(1, 90),
    has_adapter=st.booleans(),
    seed=st.integers(0, 99),
)
def test_ar_and_exact_are_greedy_ar(mode, sizes, length, has_adapter, seed):
    model = ADAPTED if has_adapter else BASE
    context = context_of(seed, length)
    expected = generate(model, context, mode="ar", block_size=1, max_new_tokens=20).tokens
    loop = DeviceLoop(
        model, num_sequences=2, num_positions=128, settings=LoopSettings(branch_sizes=sizes)
    )
    assert completion(loop, context, mode, 20)[0] == expected


@settings(max_examples=12, deadline=None)
@given(
    num_drafts=st.integers(1, 4),
    delta=st.sampled_from([0.1, 0.5]),
    seed=st.integers(0, 99),
    mode=st.sampled_from(["balanced", "fast"]),
    is_coupled=st.booleans(),
)
def test_a_ratio_is_that_of_the_reference(num_drafts, delta, seed, mode, is_coupled):
    model = COUPLED if is_coupled else ADAPTED
    context = context_of(seed, 25)
    expected = generate(
        model,
        context,
        mode=mode,
        block_size=num_drafts + 1,
        max_new_tokens=24,
        delta=delta,
    ).tokens
    sizes = (num_drafts,) * (num_drafts + 1)
    loop = DeviceLoop(
        model,
        num_sequences=2,
        num_positions=128,
        settings=LoopSettings(branch_sizes=sizes, delta=delta, fast_delta=delta),
    )
    assert completion(loop, context, mode, 24)[0] == expected


@settings(max_examples=12, deadline=None)
@given(
    block_size=st.integers(2, 6),
    max_steps=st.integers(1, 3),
    threshold=st.sampled_from([0.005, 0.9]),
    seed=st.integers(0, 99),
)
def test_diffusion_is_that_of_the_reference(block_size, max_steps, threshold, seed):
    context = context_of(seed, 25)
    expected = generate(
        ADAPTED,
        context,
        mode="diffusion",
        block_size=block_size,
        max_new_tokens=24 + block_size,  # the reference shortens its last canvas
        max_steps=max_steps,
        policy=UnmaskPolicy(threshold=threshold),
    ).tokens[:24]
    loop = DeviceLoop(
        ADAPTED,
        num_sequences=2,
        num_positions=128,
        settings=LoopSettings(block_size=block_size, max_steps=max_steps, threshold=threshold),
    )
    found, (first, *steps) = completion(loop, context, "diffusion", 24)
    assert found == expected
    assert len(first.tokens) == 1
    assert {step.num_accepted for step in steps} == {block_size - 1}


def test_drafts_are_what_masks_behind_the_accepted_chain_predict():
    """Each step's drafts, recomputed uncached: chain up to the accepted row, then MASK rows."""
    num_drafts, context = 3, context_of(1, 30)
    loop = DeviceLoop(ADAPTED, num_sequences=1, num_positions=128)
    loop.prefill(0, 0, context[:-1])
    loop.begin("exact", 0, len(context) - 1, context[-1], 50)
    text, buffers = list(context), loop._of("exact")
    for _ in range(8):
        loop.launch("exact", len(text))
        report = buffers.report.tolist()
        text += report[3 : 3 + report[1]]
        num_seen = len(text) - 1  # the settled token was not known when they were drafted
        rows = [*text[:-1], *[CONFIG.mask_id] * num_drafts]
        mask = torch.ones(len(rows), len(rows), dtype=torch.bool, device=DEVICE).tril()
        mask[num_seen:, num_seen:] = True
        gate = torch.arange(len(rows), device=DEVICE) >= num_seen
        ids = torch.tensor([rows], device=DEVICE)
        logits = ADAPTED(ids, attention=mask, gate_BT=gate[None])[0]
        assert buffers.chain.tolist() == logits[num_seen - 1 :].argmax(-1).tolist()


def test_good_drafts_are_accepted():
    context = context_of(2, 30)
    loop = DeviceLoop(ADAPTED, num_sequences=1, num_positions=128)
    expected = generate(BASE, context, mode="ar", block_size=1, max_new_tokens=12).tokens
    loop.prefill(0, 0, context[:-1])
    loop.begin("exact", 0, len(context) - 1, context[-1], 12)
    buffers, done = loop._of("exact"), 0
    for num_right in (3, 1):
        drafts = [*expected[done : done + num_right], *[CONFIG.mask_id] * 3][:3]
        buffers.chain[1:] = torch.tensor(drafts, device=DEVICE)
        loop.launch("exact", len(context) + done)
        report = buffers.report.tolist()
        assert report[:3] == [0, num_right + 1, num_right]
        assert report[3 : 4 + num_right] == expected[done : done + num_right + 1]
        done += num_right + 1


@pytest.mark.parametrize("mode", ["ar", "exact", "balanced", "fast", "diffusion"])
def test_ends_where_the_reference_ends(mode):
    context = context_of(3, 20)
    loop = DeviceLoop(ADAPTED, num_sequences=2, num_positions=128)
    whole, _ = completion(loop, context, mode, 30)
    assert len(whole) == 30
    for end in (whole[0], whole[7], whole[-1]):
        found, _ = completion(loop, context, mode, 30, {end})
        assert found == whole[: whole.index(end) + 1]
    for limit in (1, 5, 12):
        assert completion(loop, context, mode, limit)[0] == whole[:limit]


def test_a_sequence_goes_on_and_the_others_are_left_alone():
    context, more = context_of(4, 80), context_of(5, 9)
    loop = DeviceLoop(ADAPTED, num_sequences=2, num_positions=256)
    other, _ = completion(loop, context_of(6, 70), "exact", 8, sequence=0)
    first, _ = completion(loop, context, "exact", 8)
    text = [*context, *first, *more]
    known = len(context) + len(first) - 1  # K/V of what was generated are there
    loop.prefill(1, known, text[known:-1])
    steps = loop.generate("exact", 1, len(text) - 1, text[-1], 8)
    expected = generate(BASE, text, mode="ar", block_size=1, max_new_tokens=8).tokens
    assert [token for step in steps for token in step.tokens] == expected
    steps = loop.generate("exact", 0, 70, other[0], 7)
    assert [token for step in steps for token in step.tokens] == other[1:]


def test_a_dropped_completion_leaves_the_device_usable():
    context = context_of(7, 40)
    loop = DeviceLoop(ADAPTED, num_sequences=2, num_positions=128)
    expected, _ = completion(loop, context, "exact", 20)
    loop.prefill(1, 0, context[:-1])
    running = loop.generate("exact", 1, len(context) - 1, context[-1], 20)
    next(running)
    running.close()
    assert completion(loop, context, "exact", 20)[0] == expected


@pytest.mark.parametrize("kernels", [TRITON, TWINS], ids=["triton", "twins"])
@torch.no_grad()
def test_a_forward_is_that_of_the_network(kernels):
    layout, context = Layout.canvas(5, DEVICE), context_of(8, 140)
    arena = Arena(
        CONFIG, num_sequences=2, num_positions=160, num_scratch=8, dtype=torch.float32,
        device=DEVICE,
    )  # fmt: skip
    ADAPTED(torch.tensor([context], device=DEVICE), cache=arena.sequence(1))
    numbers = torch.tensor([1, len(context)], device=DEVICE)
    contexts = Contexts(numbers[:1], numbers[1:])
    ids = torch.tensor([3, 17, *[CONFIG.mask_id] * 3], device=DEVICE)
    gate = ids == CONFIG.mask_id
    found = DeviceNetwork(ADAPTED, arena, kernels).hidden(ids, layout, contexts, 160, gate)
    cache = KVCache.allocate(CONFIG, 160, dtype=torch.float32, device=DEVICE)
    ADAPTED(torch.tensor([context], device=DEVICE), cache=cache)
    expected = ADAPTED.hidden(
        ids[None], cache=cache, start=len(context), attention="canvas", gate_BT=gate[None]
    )
    torch.testing.assert_close(found, expected[0], atol=2e-3 if HAS_GPU else 1e-4, rtol=0)
    own = arena.sequence(1).keys[1][:, :, : len(context) + 5]
    torch.testing.assert_close(own, cache.keys[1][:, :, : len(context) + 5], atol=1e-3, rtol=0)


@pytest.mark.parametrize(("mode", "length"), [("balanced", 3), ("fast", 3), ("diffusion", 1)])
def test_the_kernels_write_what_their_twins_write(mode, length):
    results = [
        completion(
            DeviceLoop(
                ADAPTED,
                num_sequences=2,
                num_positions=64,
                settings=LoopSettings(branch_sizes=(2, 1), block_size=3, max_steps=1),
                kernels=kernels,
            ),
            context_of(9, length),
            mode,
            3,
        )
        for kernels in (TRITON, TWINS)
    ]
    assert results[0] == results[1]
