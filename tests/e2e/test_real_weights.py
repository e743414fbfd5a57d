"""The engine on the real weights: what a keystroke costs, and that it completes real code."""

import ast
import inspect
import json.decoder
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.adapter import Adapter, AdapterConfig
from model.format.syntax import plan_hole
from sampler.engine import Engine
from sampler.kernels.cpu import library
from sampler.load import Kernels, choose_device, open_engine
from sampler.messages import Complete, Failed, Finished

pytestmark = [pytest.mark.weights, pytest.mark.slow]

SOURCE = inspect.getsource(json.decoder)
"""About 2,900 tokens; what stands around the hole is cut to 1,500."""
HOLE = "            raise StopIteration(idx) from None"


KERNELS = ["native", "torch"] if library.is_available() else ["torch"]


@pytest.fixture(scope="module", params=KERNELS)
def engine(weights_path: Path, request: pytest.FixtureRequest) -> Engine:
    device, dtype = choose_device("cpu", "auto", None)
    return open_engine(weights_path, device=device, dtype=dtype, kernels=request.param)


def request_at(prefix: str, suffix: str, mode: str = "exact", max_new_tokens: int = 16) -> Complete:
    plan = plan_hole("python", prefix, suffix)
    return Complete("1", "d", prefix, suffix, plan, mode=mode, max_new_tokens=max_new_tokens)  # type: ignore[arg-type]


def complete(engine: Engine, request: Complete) -> Finished:
    engine.submit(request)
    while engine.has_work:
        for event in engine.step():
            assert not isinstance(event, Failed), event
            if isinstance(event, Finished):
                return event
    raise AssertionError("no answer")


@pytest.fixture(scope="module")
def typed(engine: Engine) -> tuple[str, str]:
    """A cursor in a file of 1,500 tokens whose prompt is in the cache."""
    middle = SOURCE.index("def JSONArray")
    prefix = SOURCE[middle - 4600 : middle] + "def parse_numbers(text):\n    return [int(word) for "
    suffix = "\n\n\n" + SOURCE[middle : middle + 2300]
    finished = complete(engine, request_at(prefix, suffix))
    assert 1400 <= finished.stats.prefill_tokens <= 1700
    return prefix, suffix


def test_one_typed_character_recomputes_at_most_8_context_tokens(
    engine: Engine, typed: tuple[str, str]
) -> None:
    prefix, suffix = typed
    costs = []
    for character in "word in text.split(':')":
        prefix += character
        costs.append(complete(engine, request_at(prefix, suffix)).stats.prefill_tokens)
    print(f"context tokens recomputed per typed character: {costs}")
    assert max(costs) <= 8
    for _ in range(10):
        prefix = prefix[:-1]
        assert complete(engine, request_at(prefix, suffix)).stats.prefill_tokens <= 8


def test_the_same_request_again_recomputes_nothing(engine: Engine, typed: tuple[str, str]) -> None:
    first = complete(engine, request_at(*typed))
    again = complete(engine, request_at(*typed))
    assert again.text == first.text
    assert again.stats.prefill_tokens == 0
    assert again.stats.forwards <= 1


def test_after_cancel_no_forward_starts(engine: Engine, typed: tuple[str, str]) -> None:
    prefix, suffix = typed
    for num_steps in range(4):
        engine.submit(request_at(f"# {num_steps}\n" + prefix, suffix))
        for _ in range(num_steps):
            engine.step()
        before = engine.runner.num_forwards
        engine.cancel("1")
        assert not engine.has_work
        assert engine.step() == []
        assert engine.runner.num_forwards == before


@pytest.mark.parametrize(
    ("prefix", "suffix", "expected"),
    [
        ("def add(first, second):\n    return ", "\n", "first + second"),
        ("def add(first, second):\n    ret", "\n", "urn first + second"),
        ("import math\n\n\ndef area(radius):\n    return math.pi * ", "\n", "radius ** 2"),
        ("for index, name in enu", ":\n    print(index, name)\n", "merate(names)"),
    ],
)
def test_real_completions(engine: Engine, prefix: str, suffix: str, expected: str) -> None:
    assert complete(engine, request_at(prefix, suffix)).text == expected


def test_a_block_is_python(engine: Engine) -> None:
    prefix = 'def is_even(number: int) -> bool:\n    """Whether a number is even."""\n    '
    suffix = "\n\n\ndef is_odd(number: int) -> bool:\n    return not is_even(number)\n"
    text = complete(engine, request_at(prefix, suffix, max_new_tokens=60)).text
    ast.parse(prefix + text + suffix)
    assert text.startswith("return number % 2 == 0")


@pytest.mark.parametrize("kernels", KERNELS)
def test_exact_is_ar_with_a_random_adapter(weights_path: Path, kernels: Kernels) -> None:
    """In float32, where rounding does not decide between near ties, and natively, where a row's
    logits do not depend on the rows beside it."""
    engine = open_engine(
        weights_path, device=torch.device("cpu"), dtype=torch.float32, kernels=kernels
    )
    model = engine.runner.model
    holes = [
        ("def mean(values):\n    ", "\n\n\nprint(mean([1, 2]))\n"),
        ("class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(", ""),
    ]
    plain = [complete(engine, request_at(*hole, mode="ar", max_new_tokens=24)) for hole in holes]
    torch.manual_seed(0)
    adapter = Adapter(model.config, AdapterConfig(rank=8, alpha=16.0)).requires_grad_(False)
    adapter.start_mask_at(torch.randn(4096, model.config.width) * 0.02)
    adapter.randomize()
    model.adapter = adapter
    for (prefix, suffix), expected in zip(holes, plain, strict=True):
        # Another cache sequence, so that nothing is replayed.
        request = request_at("\n" + prefix, suffix, max_new_tokens=24)
        exact = complete(engine, replace(request, layout="psm"))
        again = complete(engine, replace(request, layout="psm", mode="ar"))
        assert exact.text == again.text
        assert exact.stats.accepted
        assert expected.text
