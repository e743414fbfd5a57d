"""The kernels of linear layers, norm and head against their torch twins."""

import pytest
import torch

from model.adapter import AdapterConfig, LowRank
from tests.interpreter import DEVICE

triton = pytest.importorskip("triton")
from sampler.kernels.triton.head import judge, judge_twin  # noqa: E402
from sampler.kernels.triton.linear import (  # noqa: E402
    Update,
    linear,
    linear_twin,
    part_width,
    swiglu,
    swiglu_twin,
)
from sampler.kernels.triton.norm import add_norm, add_norm_twin  # noqa: E402

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
DTYPES = [torch.float32, torch.bfloat16]


def distance(found, expected):
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert torch.isfinite(found).all()
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def operands(num_rows, width, num_outputs, dtype, rank=5):
    torch.manual_seed(num_rows * width + num_outputs)
    low_rank = LowRank(width, num_outputs, AdapterConfig(rank, 2.0 * rank))
    torch.nn.init.normal_(low_rank.b, std=0.2)
    return (
        torch.randn(num_rows, width).to(DEVICE, dtype),
        torch.randn(num_outputs, width).div(width**0.5).to(DEVICE, dtype),
        Update.of(low_rank.to(DEVICE), dtype),
        (torch.rand(num_rows) < 0.5).to(DEVICE),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("num_rows", "width", "num_outputs"), [(1, 64, 48), (5, 300, 70), (70, 136, 130)]
)
@pytest.mark.parametrize("is_adapted", [False, True])
def test_linear(num_rows, width, num_outputs, dtype, is_adapted):
    x, weight, update, gate = operands(num_rows, width, num_outputs, dtype)
    given = (update, gate) if is_adapted else (None, None)
    found = linear(x, weight, *given).sum(0)
    assert distance(found, linear_twin(x, weight, *given)[0]) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("num_rows", "width", "num_outputs"), [(1, 64, 64), (7, 150, 76)])
@pytest.mark.parametrize("is_adapted", [False, True])
def test_swiglu(num_rows, width, num_outputs, dtype, is_adapted):
    x, weight, update, gate = operands(num_rows, width, num_outputs, dtype)
    given = (update, gate) if is_adapted else (None, None)
    found = swiglu(x, weight, *given)
    assert distance(found, swiglu_twin(x, weight, *given)) < TOLERANCE[dtype]


def test_the_twin_of_an_adapted_layer_is_what_the_network_does():
    x, weight, _, gate = operands(6, 40, 24, torch.float32)
    low_rank = LowRank(40, 24, AdapterConfig(5, 10.0)).to(DEVICE)
    torch.nn.init.normal_(low_rank.b)
    expected = torch.where(gate[:, None], x @ weight.T + low_rank(x), x @ weight.T)
    found = linear_twin(x, weight, Update.of(low_rank, torch.float32), gate)[0]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_rows_that_are_not_gated_are_the_base_bit_for_bit():
    x, weight, update, gate = operands(9, 200, 80, torch.float32)
    base, adapted = linear(x, weight), linear(x, weight, update, gate)
    assert torch.equal(adapted[:, ~gate], base[:, ~gate])
    assert not torch.equal(adapted[:, gate], base[:, gate])


def test_parts_of_a_sum_fill_a_gpu_and_do_not_depend_on_the_rows():
    for width, num_outputs in ((896, 1152), (896, 896), (4864, 896)):
        per_part = part_width(width, num_outputs)
        assert per_part % 128 == 0
        assert 90 < -(-num_outputs // 64) * -(-width // per_part) <= 132


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("num_rows", "width", "num_parts"), [(1, 64, 1), (5, 100, 3), (3, 48, 0)])
def test_add_norm(num_rows, width, num_parts, dtype):
    torch.manual_seed(width)
    stream = torch.randn(num_rows, width, device=DEVICE)
    parts = torch.randn(num_parts, num_rows, width, device=DEVICE) if num_parts else None
    weight = torch.randn(width).to(DEVICE, dtype)
    mine, theirs = stream.clone(), stream.clone()
    found = add_norm(mine, parts, weight, 1e-6, dtype)
    assert distance(found, add_norm_twin(theirs, parts, weight, 1e-6, dtype)) < TOLERANCE[dtype]
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("num_rows", "vocab_size"), [(1, 128), (6, 300), (66, 513)])
def test_judge(num_rows, vocab_size, dtype):
    torch.manual_seed(vocab_size)
    x = torch.randn(num_rows, 80).to(DEVICE, dtype)
    weight = torch.randn(vocab_size, 80).to(DEVICE, dtype)
    wanted = torch.randint(0, vocab_size + 1, (num_rows,), device=DEVICE)
    wanted[0] = vocab_size  # MASK
    found, expected = judge(x, weight, wanted), judge_twin(x, weight, wanted)
    assert torch.equal(found.tokens_R, expected.tokens_R)
    assert found.wanted_R[0] == -torch.inf
    for name in ("confidence_R", "logits_R", "wanted_R"):
        torch.testing.assert_close(
            getattr(found, name), getattr(expected, name), atol=1e-3, rtol=1e-3
        )


def test_of_equally_likely_tokens_the_first_is_taken():
    x = torch.ones(3, 16, device=DEVICE)
    weight = torch.zeros(300, 16, device=DEVICE)
    weight[[7, 100, 150, 290]] = 1.0
    verdict = judge(x, weight, torch.zeros(3, dtype=torch.long, device=DEVICE))
    assert verdict.tokens_R.tolist() == [7, 7, 7]
