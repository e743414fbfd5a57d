"""The kernels that decide, unmask and advance, against their twins and against the policy."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.masks import Branches
from tests.interpreter import DEVICE

triton = pytest.importorskip("triton")
from sampler.cuda.layout import Layout  # noqa: E402
from sampler.kernels.triton.advance import EMITTED, advance, advance_twin  # noqa: E402
from sampler.kernels.triton.head import Verdict  # noqa: E402
from sampler.kernels.triton.unmask import NEVER, unmask, unmask_twin  # noqa: E402
from sampler.policy import UnmaskPolicy, judge, num_accepted, select_unmask  # noqa: E402

MASK = 40


@settings(max_examples=40, deadline=None)
@given(
    num_slots=st.integers(2, 20),
    threshold=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    edit_threshold=st.sampled_from([0.6, NEVER]),
    seed=st.integers(0, 999),
)
def test_unmask(num_slots, threshold, edit_threshold, seed):
    torch.manual_seed(seed)
    tokens = torch.randint(0, MASK, (num_slots,), device=DEVICE)
    confidence = torch.rand(num_slots, device=DEVICE)
    is_masked = torch.rand(num_slots, device=DEVICE) < 0.6
    is_masked[0] = False
    canvas = torch.randint(0, MASK, (num_slots,), device=DEVICE).masked_fill(is_masked, MASK)
    mine, masked = canvas.clone(), is_masked.clone()
    unmask(tokens, confidence, mine, masked, threshold, edit_threshold)
    theirs, masked_theirs = canvas.clone(), is_masked.clone()
    unmask_twin(tokens, confidence, theirs, masked_theirs, threshold, edit_threshold)
    assert torch.equal(mine, theirs)
    assert torch.equal(masked, masked_theirs)
    assert mine[0] == canvas[0]
    assert torch.equal(mine == MASK, masked)
    if edit_threshold == NEVER and is_masked.any():
        policy = UnmaskPolicy("threshold", threshold)
        revealed = select_unmask(policy, None, confidence[:-1], is_masked[1:])
        assert torch.equal(is_masked[1:] & ~masked[1:], revealed)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=9).map(tuple),
    num_right=st.integers(0, 9),
    acceptance=st.sampled_from(["exact", "ratio", "all"]),
    left=st.integers(1, 9),
    end=st.sampled_from([None, 0, 3, 5]),
    was_done=st.booleans(),
    seed=st.integers(0, 999),
)
def test_advance(sizes, num_right, acceptance, left, end, was_done, seed):
    torch.manual_seed(seed)
    layout, num_slots = Layout.of(sizes, DEVICE), len(sizes)
    tokens = torch.randint(0, MASK, (layout.num_rows,), device=DEVICE)
    chain = torch.randint(0, MASK, (num_slots,), device=DEVICE)
    chain[1:][:num_right] = tokens[: num_slots - 1][:num_right]
    logits = torch.randn(layout.num_rows, device=DEVICE)
    wanted = logits - torch.rand(layout.num_rows, device=DEVICE)
    is_best = chain[1:] == tokens[: num_slots - 1]
    wanted[: num_slots - 1][is_best] = logits[: num_slots - 1][is_best]
    verdict = Verdict(tokens, torch.ones_like(logits), logits, wanted)
    is_end = torch.zeros(MASK + 1, dtype=torch.bool, device=DEVICE)
    if end is not None and end < num_slots:
        is_end[tokens[end]] = True
    results = []
    for step in (advance, advance_twin):
        mine, state = chain.clone(), torch.tensor([100, 2, left, int(was_done)], device=DEVICE)
        report = torch.full((EMITTED + num_slots,), 77, device=DEVICE)
        step(
            acceptance,
            verdict,
            mine,
            layout.starts_C,
            layout.sizes_C,
            state,
            report,
            is_end,
            mask_id=MASK,
            log_delta=-0.5,
        )
        results.append((mine, state, report))
    for found, expected in zip(*results, strict=True):
        assert found.tolist() == expected.tolist()
    following, state, report = (result.tolist() for result in results[0])
    if was_done:
        assert following == chain.tolist()
        assert state == [100, 2, left, 1]
        return
    table = torch.full((num_slots - 1, MASK), -torch.inf, device=DEVICE)
    table.scatter_(1, tokens[: num_slots - 1, None], logits[: num_slots - 1, None])
    if acceptance == "ratio":
        table.scatter_(1, chain[1:, None], wanted[: num_slots - 1, None])
    if acceptance == "all":
        accepted = num_slots - 1
    else:
        judgment = judge(table, chain[1:])
        least_shares = [2.0 if acceptance == "exact" else 0.6065306597126334] * (num_slots - 1)
        drafts = chain[1:].tolist()
        accepted = num_accepted(drafts, judgment.tokens, judgment.shares, least_shares)
    assert report[2] == accepted
    written = [*chain[1 : accepted + 1].tolist(), int(tokens[accepted])]
    num_emitted = report[1]
    assert report[EMITTED : EMITTED + num_emitted] == written[:num_emitted]
    assert num_emitted == state[0] - 100 == left - state[2]
    has_met_end = bool(is_end[report[EMITTED + num_emitted - 1]])
    assert report[0] == state[3] == int(has_met_end or num_emitted == left)
    assert report[0] or num_emitted == accepted + 1
    branch = Branches(sizes).branch(accepted)
    drafts = [*tokens[branch].tolist(), *[MASK] * num_slots]
    assert following == [int(tokens[accepted]), *drafts[: num_slots - 1]]
