"""Every stage's loss and gradient on a GPU against the CPU's, and a run that moves between them."""

from dataclasses import replace

import pytest
import torch

from model.adapter import Adapter, AdapterConfig
from model.config import NAMED
from model.network import Transformer
from model.noise import seeded_generator
from tests.unit.test_train import Repeats, losses
from training.distributed import join
from training.rates import matmul_rate
from training.recipes import debug
from training.run_cli import compile_layers
from training.stages import STAGES
from training.train import Run, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
RECIPES = {
    "adapt": replace(debug(), offset_decay=0.9, off_path_weight=0.5),
    "fim": replace(debug(), stage="fim", kind="merge"),
    "ar": replace(debug(), stage="ar", kind="merge"),
}


def model_on(device, dtype=torch.float32):
    torch.manual_seed(11)
    model = Transformer(NAMED["debug"]).eval().requires_grad_(False)
    model.adapter = Adapter(model.config, AdapterConfig(4, 8.0))
    model.adapter.randomize()
    model.adapter.start_mask_at(model.embedding.weight)
    return model.to(device, dtype)


def loss_and_gradient(name, device, dtype=torch.float32, num_records=1, has_compiler=False):
    model = model_on(device, dtype)
    if has_compiler:
        compile_layers(model)
    records = [Repeats().draw(index) for index in range(num_records)]
    result = STAGES[name](model, records, RECIPES[name], 3, seeded_generator(0, 1))
    result.loss.backward()
    gradients = [p.grad.flatten().float().cpu() for p in model.adapter.layers.parameters()]
    return float(result.loss), torch.cat(gradients)


@pytest.mark.parametrize("num_records", [1, 3])
@pytest.mark.parametrize("name", RECIPES)
def test_a_gpu_computes_what_a_cpu_does(name, num_records):
    loss, gradient = loss_and_gradient(name, CPU, num_records=num_records)
    found, found_gradient = loss_and_gradient(name, CUDA, num_records=num_records)
    assert found == pytest.approx(loss, rel=1e-3)
    assert (found_gradient - gradient).norm() < 1e-2 * gradient.norm()


@pytest.mark.parametrize("name", RECIPES)
def test_bf16_is_near(name):
    loss, gradient = loss_and_gradient(name, CPU)
    found, found_gradient = loss_and_gradient(name, CUDA, torch.bfloat16)
    assert found == pytest.approx(loss, rel=2e-2)
    assert (found_gradient - gradient).norm() < 0.1 * gradient.norm()


@pytest.mark.parametrize("name", RECIPES)
def test_compiled_layers_compute_the_same(name):
    loss, gradient = loss_and_gradient(name, CUDA)
    found, found_gradient = loss_and_gradient(name, CUDA, has_compiler=True)
    assert found == pytest.approx(loss, rel=1e-3)
    assert (found_gradient - gradient).norm() < 1e-2 * gradient.norm()


@pytest.mark.parametrize("is_full", [False, True])
def test_a_run_begun_on_a_cpu_goes_on_on_a_gpu(is_full, tmp_path):
    recipe = replace(debug(), is_full=is_full, peak_lr=1e-3)
    for folder, devices in (("whole", [CPU, CPU]), ("moved", [CPU, CUDA])):
        for device in devices:
            torch.manual_seed(11)
            base = Transformer(NAMED["debug"]).eval().to(device)
            with join(device, has_group=True) as world:
                run = Run(tmp_path / folder, stop_after=4)
                train(base, recipe, Repeats(), run, lambda step, told: None, world)
    assert dict(losses(tmp_path / "moved")) == pytest.approx(
        dict(losses(tmp_path / "whole")), rel=1e-3
    )


def test_the_rate_of_matrix_products_is_that_of_a_gpu():
    assert matmul_rate(CUDA, torch.bfloat16) > 1e12
