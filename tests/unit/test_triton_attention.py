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


def numbers(*values):
    return torch.tensor(values, device=DEVICE)


def one(num_rows, sequence, length):
    """All rows are of one sequence."""
    return numbers(0, num_rows), numbers(sequence), numbers(length)


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
    given = (queries, keys, values, is_visible, *one(num_rows, 2, length))
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
    place = one(12, 0, 250)
    whole = attention(queries, keys, values, causal, *place, 512)
    for bucket in (384, 600):
        again = attention(queries, keys, values, causal, *place, bucket)
        assert torch.equal(again, whole)
    first = (queries[:1].contiguous(), keys, values, causal[:1, :1])
    alone = attention(*first, *one(1, 0, 250), 512)
    torch.testing.assert_close(alone, whole[:1], atol=1e-6, rtol=0)


def test_rows_that_see_nothing_of_a_chunk_give_numbers():
    keys, values = caches(300, 1, 16, torch.float32)
    queries = torch.randn(4, 2, 16, device=DEVICE)
    eye = torch.eye(4, dtype=torch.bool, device=DEVICE)
    for length in (0, CHUNK - 2, CHUNK):  # in one chunk, across two, in the second one alone
        given = (queries, keys, values, eye, *one(4, 0, length))
        assert_near(attention(*given, 300), attention_twin(*given, 300), torch.float32)


# Rows, sequence and length of each of several sequences in one forward.
TOGETHER = [
    [(5, 2, 126), (20, 0, 13)],
    [(9, 1, 0), (1, 0, 290), (12, 2, 127)],
    [(10, 2, 300)],  # the other segments are empty
]


def in_one(places):
    """Bounds, sequences and lengths for up to four segments."""
    ends = torch.tensor([0, *(rows for rows, _, _ in places)]).cumsum(0).tolist()
    missing = 4 - len(places)
    return (
        numbers(*ends, *[ends[-1]] * missing),
        numbers(*(sequence for _, sequence, _ in places), *[0] * missing),
        numbers(*(length for _, _, length in places), *[0] * missing),
    )


@pytest.mark.parametrize("places", TOGETHER)
@pytest.mark.parametrize("dtype", DTYPES)
def test_several_sequences_attend_as_each_alone(places, dtype):
    keys, values = caches(400, 2, 16, dtype)
    num_rows = sum(rows for rows, _, _ in places)
    queries = torch.randn(num_rows, 6, 16).to(DEVICE, dtype)
    # What a row sees of another sequence's rows is not even looked at.
    is_visible = torch.rand(num_rows, num_rows, device=DEVICE) < 0.6
    is_visible.fill_diagonal_(True)
    given = (queries, keys, values, is_visible, *in_one(places), 512)
    found, expected, end = attention(*given), attention_twin(*given), 0
    assert_near(found, expected, dtype)
    for count, sequence, length in places:
        rows = slice(end, end + count)
        end += count
        own = (queries[rows].contiguous(), keys, values, is_visible[rows, rows].contiguous())
        place = (*one(count, sequence, length), 512)
        assert torch.equal(attention_twin(*own, *place), expected[rows])
        if count * 3 > 16:  # else another size of tiles, whose sums a CPU may form otherwise
            assert torch.equal(attention(*own, *place), found[rows])


@pytest.mark.parametrize("places", TOGETHER)
@pytest.mark.parametrize("dtype", DTYPES)
def test_several_sequences_are_stored_as_each_alone(places, dtype):
    cos, sin = rotary_table(NAMED["debug"], DEVICE, dtype)
    places = [(rows, sequence, length % 40) for rows, sequence, length in places]
    num_rows = sum(rows for rows, _, _ in places)
    parts = torch.randn(2, num_rows, 8 * 16, device=DEVICE)
    offsets = torch.randint(0, 5, (num_rows,), device=DEVICE)
    for rotation in (rotate_and_store, rotate_and_store_twin):
        caches_of = [torch.zeros(3, 2, 60, 16, device=DEVICE, dtype=dtype) for _ in range(4)]
        found = rotation(parts, None, cos, sin, offsets, *in_one(places), *caches_of[:2])
        end = 0
        for count, sequence, length in places:
            rows = slice(end, end + count)
            end += count
            own = (parts[:, rows].contiguous(), None, cos, sin, offsets[rows])
            alone = rotation(*own, *one(count, sequence, length), *caches_of[2:])
            assert torch.equal(found[rows], alone)
        assert torch.equal(caches_of[0], caches_of[2])
        assert torch.equal(caches_of[1], caches_of[3])
        assert caches_of[0].any()


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
        place = one(num_rows, 1, length)
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
    queries = rotate_and_store_twin(parts, None, cos, sin, offsets, *one(5, 0, 11), keys, values)
    heads = parts[0].view(5, 8, 16).transpose(0, 1)
    positions = 11 + offsets
    expected = rotate(heads, cos[positions], sin[positions])
    torch.testing.assert_close(queries.transpose(0, 1), expected[:4])
    torch.testing.assert_close(keys[0, :, 11:16], expected[4:6])
    torch.testing.assert_close(values[0, :, 11:16], heads[6:])
