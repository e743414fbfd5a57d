"""The kernels of rotary positions and attention against their torch twins."""

import pytest
import torch

from model.config import NAMED
from model.network import rotary_table, rotate
from tests.interpreter import DEVICE

triton = pytest.importorskip("triton")
from sampler.kernels.triton.attention import CHUNK, attention, attention_twin  # noqa: E402
from sampler.kernels.triton.rope import (  # noqa: E402
    rotate_and_store,
    rotate_and_store_twin,
)

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
DTYPES = [torch.float32, torch.bfloat16]


def scalar(value):
    return torch.tensor([value], device=DEVICE)


def caches(num_slots, num_kv_heads, head_dim, dtype):
    """Two layers' worth of arenas, so that a layer's view is not contiguous."""
    shape = (3, 2, num_kv_heads, num_slots, head_dim)
    return (torch.randn(shape).to(DEVICE, dtype)[:, 1] for _ in range(2))


def assert_near(found, expected, dtype):
    assert found.dtype == expected.dtype
    assert torch.isfinite(found).all()
    distance = (found.double() - expected.double()).norm() / expected.double().norm()
    assert distance < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("num_rows", "length", "num_heads", "num_kv_heads"),
    [(1, 0, 4, 2), (1, 127, 4, 2), (5, 126, 6, 2), (9, 290, 7, 1), (20, 13, 4, 4)],
)
def test_attention(num_rows, length, num_heads, num_kv_heads, dtype):
    torch.manual_seed(num_rows + length)
    keys, values = caches(400, num_kv_heads, 16, dtype)
    queries = torch.randn(num_rows, num_heads, 16).to(DEVICE, dtype)
    is_visible = torch.rand(num_rows, num_rows, device=DEVICE) < 0.4
    is_visible.fill_diagonal_(True)
    given = (queries, keys, values, is_visible, scalar(2), scalar(length))
    # What lies behind the rows is scratch of other forwards: it must not be looked at.
    keys[:, :, length + num_rows :] = torch.nan
    values[:, :, length + num_rows :] = torch.nan
    expected = attention_twin(*given, 400)
    for bucket in (length + num_rows, 512):
        assert_near(attention(*given, bucket), expected, dtype)


def test_a_bucket_and_the_rows_beside_do_not_change_a_row():
    torch.manual_seed(0)
    keys, values = caches(600, 2, 16, torch.float32)
    queries = torch.randn(12, 4, 16, device=DEVICE)
    causal = torch.ones(12, 12, dtype=torch.bool, device=DEVICE).tril()
    place = (scalar(0), scalar(250))
    whole = attention(queries, keys, values, causal, *place, 512)
    for bucket in (384, 600):
        again = attention(queries, keys, values, causal, *place, bucket)
        assert torch.equal(again, whole)
    alone = attention(queries[:1].contiguous(), keys, values, causal[:1, :1], *place, 512)
    torch.testing.assert_close(alone, whole[:1], atol=1e-6, rtol=0)


def test_rows_that_see_nothing_of_a_chunk_give_numbers():
    keys, values = caches(300, 1, 16, torch.float32)
    queries = torch.randn(4, 2, 16, device=DEVICE)
    eye = torch.eye(4, dtype=torch.bool, device=DEVICE)
    for length in (0, CHUNK - 2, CHUNK):  # in one chunk, across two, in the second one alone
        given = (queries, keys, values, eye, scalar(0), scalar(length))
        assert_near(attention(*given, 300), attention_twin(*given, 300), torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(("num_rows", "length", "num_parts"), [(1, 0, 1), (6, 37, 3), (17, 40, 2)])
def test_rotate_and_store(num_rows, length, num_parts, has_bias, dtype):
    config = NAMED["debug"]
    torch.manual_seed(length)
    cos, sin = rotary_table(config, DEVICE, dtype)
    parts = torch.randn(num_parts, num_rows, 8 * 16, device=DEVICE)
    bias = torch.randn(8 * 16).to(DEVICE, dtype) if has_bias else None
    offsets = torch.randint(0, num_rows, (num_rows,), device=DEVICE)
    results = []
    for rotation in (rotate_and_store, rotate_and_store_twin):
        torch.manual_seed(5)
        keys, values = caches(50, 2, 16, dtype)
        place = (scalar(1), scalar(length))
        queries = rotation(parts, bias, cos, sin, offsets, *place, keys, values)
        results.append((queries, keys.clone(), values.clone()))
    for found, expected in zip(*results, strict=True):
        assert_near(found, expected, dtype)
    untouched = slice(length + num_rows, None)  # rows without a slot are dropped
    torch.manual_seed(5)
    before, _ = caches(50, 2, 16, dtype)
    assert torch.equal(results[0][1][:, :, untouched], before[:, :, untouched])
    assert torch.equal(results[0][1][0], before[0])


def test_the_twin_rotates_as_the_network_does():
    config = NAMED["debug"]
    cos, sin = rotary_table(config, DEVICE, torch.float32)
    parts = torch.randn(1, 5, 8 * 16, device=DEVICE)
    offsets = torch.tensor([0, 1, 2, 1, 2], device=DEVICE)
    keys, values = (torch.zeros(1, 2, 30, 16, device=DEVICE) for _ in range(2))
    queries = rotate_and_store_twin(
        parts, None, cos, sin, offsets, scalar(0), scalar(11), keys, values
    )
    heads = parts[0].view(5, 8, 16).transpose(0, 1)
    positions = 11 + offsets
    expected = rotate(heads, cos[positions], sin[positions])
    torch.testing.assert_close(queries.transpose(0, 1), expected[:4])
    torch.testing.assert_close(keys[0, :, 11:16], expected[4:6])
    torch.testing.assert_close(values[0, :, 11:16], heads[6:])
