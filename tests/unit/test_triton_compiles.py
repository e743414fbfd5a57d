"""All kernels of a forward compile for an H200, without one: the interpreter lets more pass."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

COMPILE = """
import torch
from dataclasses import replace
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

class Hopper:
    def get_current_target(self): return GPUTarget("cuda", 90, 32)
    def get_current_device(self): return 0
    def get_current_stream(self, device): return 0

driver.set_active(Hopper())
launch = JITFunction.run
compiled = set()

def compile_only(self, *args, grid, warmup, **options):
    kernel = launch(self, *args, grid=grid, warmup=True, **options)
    assert kernel.asm["cubin"]
    compiled.add(self.fn.__name__)

JITFunction.run = compile_only

from model.adapter import Adapter, AdapterConfig
from model.config import NAMED
from model.network import Transformer
from sampler.cuda.kernel_set import TRITON
from sampler.cuda.loop import DeviceLoop, LoopSettings
from sampler.cuda.runner import MOST_SEQUENCES, GraphRunner

config = replace(NAMED["debug"], num_layers=1)
model = Transformer(config).to(torch.bfloat16).requires_grad_(False)
adapter = Adapter(config, AdapterConfig(32, 64.0, coupling_rank=128))
model.adapter = adapter.to(torch.bfloat16).requires_grad_(False)
settings = LoopSettings(block_size=4, max_steps=1)
loop = DeviceLoop(model, num_sequences=1, num_positions=64, settings=settings, kernels=TRITON)
for mode in ("exact", "diffusion"):
    loop.begin(mode, 0, 3, 4, 10)
    loop.launch(mode, 3)
runner = GraphRunner(model, num_sequences=2, num_positions=64, kernels=TRITON)
runner._launch(16, 256, MOST_SEQUENCES)
print(*sorted(compiled))
"""
KERNELS = {
    *("_add_norm", "_advance", "_chunks", "_combine", "_couple", "_embed", "_join", "_linear"),
    *("_rotate_and_store", "_shares", "_swiglu", "_unmask"),
}


@pytest.mark.slow
def test_kernels_compile_for_hopper(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMPILE],
        cwd=Path(__file__).parents[2],
        env={"TRITON_CACHE_DIR": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(done.stdout.split()) == KERNELS
