"""The kernels and the device loop on a GPU: the tests of the interpreter, and what only graphs do.

The imported tests run on whatever `tests.interpreter.DEVICE` is, here a GPU.
"""

import pytest
import torch

from model.adapter import Adapter, AdapterConfig
from model.config import NAMED
from model.network import Transformer
from sampler.cuda.loop import DeviceLoop, LoopSettings
from sampler.cuda.runner import GraphRunner
from sampler.load import open_engine
from tests.parity.test_device_loop import *  # noqa: F403
from tests.parity.test_device_loop import COUPLED, completion, context_of
from tests.parity.test_graph_runner import *  # noqa: F403
from tests.parity.test_graph_runner import ask, complete, forwards_behind_contexts
from tests.tiny_model import write_tiny_model
from tests.unit.test_triton_attention import *  # noqa: F403
from tests.unit.test_triton_couple import *  # noqa: F403
from tests.unit.test_triton_decisions import *  # noqa: F403
from tests.unit.test_triton_linear import *  # noqa: F403

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CUDA = torch.device("cuda")
MODES = ["ar", "exact", "balanced", "fast", "diffusion"]


@pytest.fixture(scope="module")
def real_shape():
    """Random bf16 weights of the 0.5B shape; their logits are far from ties as those of text."""
    torch.manual_seed(0)
    config = NAMED["qwen2.5-coder-0.5b"]
    with CUDA:
        model = Transformer(config).to(torch.bfloat16).eval().requires_grad_(False)
        torch.nn.init.normal_(model.embedding.weight, std=0.05)
        adapter = Adapter(config, AdapterConfig(32, 64.0, coupling_rank=128))
        model.adapter = adapter.to(torch.bfloat16)
        model.adapter.requires_grad_(False).randomize(0.1)
    return model


@pytest.mark.parametrize("mode", MODES)
def test_a_replayed_step_waits_for_nothing(mode):
    loop = DeviceLoop(COUPLED, num_sequences=1, num_positions=256)
    context = context_of(1, 30)
    completion(loop, context, mode, 12, sequence=0)  # captures
    loop.begin(mode, 0, len(context) - 1, context[-1], 12)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(4):
            loop.launch(mode, len(context) + step)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("mode", MODES)
def test_capturing_in_the_middle_changes_nothing(mode):
    """One completion crosses buckets, so that graphs are captured while it runs."""
    context = context_of(2, 240)
    results = []
    for _ in range(2):
        loop = DeviceLoop(COUPLED, num_sequences=2, num_positions=600)
        results.append(completion(loop, context, mode, 60)[0])
        results.append(completion(loop, context, mode, 60)[0])  # all captured
    assert all(result == results[0] for result in results)


def test_exact_is_ar_in_bf16(real_shape):
    """A row's sums have one order, whatever stands beside it: not one token may differ."""
    results = {}
    for mode, sizes in (("ar", (3,)), ("exact", (3,) * 4), ("exact", (7,) * 8)):
        loop = DeviceLoop(
            real_shape,
            num_sequences=1,
            num_positions=512,
            settings=LoopSettings(branch_sizes=sizes),
        )
        results[mode, sizes] = completion(loop, context_of(3, 200), mode, 64, sequence=0)[0]
    expected = results.pop(("ar", (3,)))
    for found in results.values():
        assert found == expected


@torch.inference_mode()
def test_sequences_together_get_the_bits_of_each_alone(real_shape):
    runner = GraphRunner(real_shape, num_sequences=3, num_positions=300)
    shapes = [(200, 4, (3,) * 4, None), (37, 2, (7, 7), None), (280, 16, (), 2)]
    forwards = forwards_behind_contexts(runner, *shapes)
    for _ in range(2):  # captured, then replayed
        together = runner.advance_together(forwards)
        kept = [forward.sequence.kv.keys[-1].clone() for forward in forwards]
    for forward, found, keys in zip(forwards, together, kept, strict=True):
        (expected,) = runner.advance_together([forward])
        assert found.tokens == expected.tokens
        assert torch.equal(found.confidence_L, expected.confidence_L)
        assert torch.equal(found.shares_L, expected.shares_L)
        end = len(forward.sequence.tokens) + len(forward.chain) + sum(forward.sizes)
        assert torch.equal(keys[:, :, :end], forward.sequence.kv.keys[-1][:, :, :end])


def test_an_engine_on_a_gpu_runs_graphs_and_writes_what_a_cpu_does(tmp_path):
    folder = write_tiny_model(tmp_path)
    texts = []
    for device in ("cpu", "cuda"):
        engine = open_engine(
            folder,
            device=torch.device(device),
            dtype=torch.float32,
            kernels="torch" if device == "cpu" else "auto",
        )
        assert isinstance(engine.runner, GraphRunner) == (device == "cuda")
        texts.append([complete(engine, ask("def f(a):\n" * n, "")).text for n in (1, 9, 30)])
    assert texts[0] == texts[1]


@torch.no_grad()
def test_a_bf16_forward_is_near_the_networks(real_shape):
    context, last = context_of(4, 300), 7
    loop = DeviceLoop(real_shape, num_sequences=1, num_positions=512)
    loop.prefill(0, 0, context)
    loop.begin("ar", 0, len(context), last, 4)
    buffers = loop._of("ar")
    found = loop.network.hidden(buffers.rows, buffers.layout, loop._contexts, 512)
    ids = torch.tensor([[*context, last]], device=CUDA)
    expected = real_shape.hidden(ids, rows=slice(300, 301))[0]
    distance = (found.double() - expected.double()).norm() / expected.double().norm()
    assert distance < 3e-2
