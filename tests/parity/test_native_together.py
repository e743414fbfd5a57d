"""Rows of several sequences in one native forward: each as in a forward of its own, bit for bit."""

import functools
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from model.coupling import Coupling
from model.early import EarlyKV
from model.masks import Branches
from sampler.forward import InterruptedForwardError
from sampler.judgment import Judgment
from sampler.kernels.cpu.native import NativeModel
from sampler.kernels.cpu.segments import NativeCache, Segment
from tests.native_parts import DEBUG, MASK, PATHS, needs_library, random_ids, random_network

CONFIG = replace(DEBUG, num_layers=4)
LENGTHS = (37, 16, 5)
"""Of the texts before."""


@functools.cache
def model(path: str, threads: int) -> NativeModel:
    plain = random_network(CONFIG, 1.0)
    assert plain.adapter is not None
    plain.adapter.coupling = Coupling(CONFIG.width, 4)
    for parameter in plain.adapter.coupling.parameters():
        parameter.data.normal_()
    plain.early = EarlyKV(CONFIG, 2)
    plain.early.weight.data.normal_(std=0.2)
    return NativeModel(plain.requires_grad_(False), threads=threads, path=path)


def caches(one: NativeModel) -> list[NativeCache]:
    """Each behind a text of its own."""
    found = []
    for seed, length in enumerate(LENGTHS):
        cache = one.allocate(80)
        one(random_ids(length, seed=seed), cache=cache)
        found.append(cache)
    return found


def segment(
    cache: NativeCache, number: int, num_chain: int, sizes: Sequence[int] = (), **fields: object
) -> Segment:
    chain_T = random_ids(num_chain, seed=10 + number)[0]
    ids_T = torch.cat([chain_T, torch.full((sum(sizes),), MASK)])
    if sizes:
        fields |= {"attention": Branches(tuple(sizes)), "gate_T": ids_T == MASK}
    return Segment(ids_T, cache, LENGTHS[number], **fields)  # type: ignore[arg-type]


LAYOUTS = {
    "two with branches": [(3, (2, 0, 3)), (2, (1, 4))],
    "three": [(1, (3,)), (4, (0, 1, 0, 2)), (1, ())],
    "a row each": [(1, ()), (1, ()), (1, ())],
    "one that reads": [(20, (), {"rows": slice(20, 20), "num_early": 20}), (2, (1, 2)), (1, ())],
    "one that reads and is judged": [(20, (0,) * 19 + (3,), {"rows": slice(19, 23)}), (1, (2,))],
}


def assert_same(actual: Judgment, expected: Judgment, num_rows: int) -> None:
    assert torch.equal(actual.tokens_L, expected.tokens_L)
    assert torch.equal(actual.confidence_L, expected.confidence_L)
    # What stands behind a chain's last row in the call is no business of its own.
    assert torch.equal(actual.shares_L[: num_rows - 1], expected.shares_L[: num_rows - 1])
    assert (actual.candidates is None) == (expected.candidates is None)
    if actual.candidates is not None and expected.candidates is not None:
        for name in ("hidden_LD", "ids_LK", "log_p_LK"):
            assert torch.equal(
                getattr(actual.candidates, name)[num_rows:],
                getattr(expected.candidates, name)[num_rows:],
            )


@needs_library
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("path", PATHS)
def test_together_is_one_after_the_other(path: str, layout: str) -> None:
    for threads in (1, 2, 3):
        one = model(path, threads)
        apart, joined = caches(one), caches(one)
        specs = [(*spec, {})[:3] for spec in LAYOUTS[layout]]

        def segments(kept: list[NativeCache], specs: Sequence[tuple] = specs) -> list[Segment]:
            return [
                segment(kept[number], number, num_chain, sizes, **fields)
                for number, (num_chain, sizes, fields) in enumerate(specs)
            ]

        expected = [one.judge_together([alone])[0] for alone in segments(apart)]
        actual = one.judge_together(segments(joined))
        for index, (num_chain, _, fields) in enumerate(specs):
            num_judged = num_chain - (fields["rows"].start if "rows" in fields else 0)
            assert_same(actual[index], expected[index], num_judged)
        for mine, theirs in zip(joined, apart, strict=True):
            for name in ("keys", "values", "key_scales", "value_scales"):
                assert torch.equal(getattr(mine, name), getattr(theirs, name)), name


@needs_library
@pytest.mark.parametrize("path", PATHS)
def test_a_forward_ends_early_or_is_whole(path: str) -> None:
    """Whenever it is interrupted; what it would have written to is somebody else's by then."""
    one = model(path, 2)
    cache = caches(one)[0]
    parts = [segment(cache, 0, 3, (2, 0, 3))]
    (expected,) = one.judge_together(parts)
    is_over = threading.Event()

    def interrupt() -> None:
        chance = random.Random(3)
        while not is_over.wait(chance.uniform(0, 0.0006)):
            one.interrupt(True)
            one.interrupt(chance.random() < 0.3)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    others: deque[bytes] = deque(maxlen=200)
    num_whole = num_interrupted = 0
    deadline = time.monotonic() + 20
    while (num_whole < 50 or num_interrupted < 2000) and time.monotonic() < deadline:
        others.append(bytes(16 * (num_interrupted % 200)))
        try:
            (found,) = one.judge_together(parts, may_interrupt=True)
        except InterruptedForwardError:
            num_interrupted += 1
        else:
            assert_same(found, expected, 3)
            num_whole += 1
        if num_interrupted % 100 == 0:
            assert_same(one.judge_together(parts)[0], expected, 3)
    is_over.set()
    interrupting.join()
    one.interrupt(False)
    assert min(num_whole, num_interrupted) > 0
    assert not any(map(any, others)), "it wrote into what is not its own any more"
    assert_same(one.judge_together(parts, may_interrupt=True)[0], expected, 3)


@needs_library
def test_logits_are_each_sequences_own() -> None:
    one = model("", 2)
    apart, joined = caches(one), caches(one)
    expected = [
        one.judge_together([segment(apart[number], number, 2)], needs_logits=True)[0].logits
        for number in range(3)
    ]
    together = [segment(joined[number], number, 2) for number in range(3)]
    for actual, logits_LV in zip(
        one.judge_together(together, needs_logits=True), expected, strict=True
    ):
        assert torch.equal(actual.logits, logits_LV)


@needs_library
@torch.inference_mode()
def test_the_likeliest_tokens_are_those_of_the_logits() -> None:
    one = model("", 2)
    kept = caches(one)
    asked = [segment(kept[number], number, 2, needs_candidates=True) for number in range(3)]
    for found, alone in zip(one.judge_together(asked), asked, strict=True):
        logits = one.judge_together([alone], needs_logits=True)[0].logits
        for row in range(2):
            ids_K, log_p_K = found.likeliest(row)
            expected_K = logits[row].log_softmax(-1)[ids_K]
            assert ids_K[0] == logits[row].argmax() == found.tokens[row]
            torch.testing.assert_close(log_p_K, expected_K, atol=1e-4, rtol=1e-4)
            assert (log_p_K.diff() <= 0).all()


@needs_library
def test_a_copied_cache_serves_as_the_one_it_was_copied_from() -> None:
    one = model("", 2)
    first, copied = caches(one)[0], one.allocate(80)
    for length in (37, 20, 1):
        copied.copy_from(first, length)
        ids_BT = random_ids(6, seed=9)
        expected = one(ids_BT, cache=first, start=length)
        assert torch.equal(one(ids_BT, cache=copied, start=length), expected)
        first = caches(one)[0]


@needs_library
def test_only_the_first_segment_may_have_rows_without_logits() -> None:
    one = model("", 2)
    kept = caches(one)
    reading = {"rows": slice(4, 4)}
    with pytest.raises(AssertionError, match="without logits"):
        one.judge_together([segment(kept[0], 0, 2), segment(kept[1], 1, 4, **reading)])
