"""Rows that leave early: the native kernels against PyTorch, and against themselves."""

import functools
from dataclasses import replace

import pytest
import torch

from model.config import NAMED
from model.early import EarlyKV
from model.masks import Branches
from model.network import KVCache, Transformer
from sampler.kernels.cpu.native import NativeModel
from tests.native_parts import CPU, PATHS, needs_library, random_ids, random_network

DEBUG = replace(NAMED["debug"], num_layers=4)
SHAPES = {
    "debug": DEBUG,
    "odd": replace(DEBUG, vocab_size=517, width=48, num_heads=3, num_kv_heads=1, ffn_width=144),
}
LAYER = 2
pytestmark = needs_library


@functools.cache
def network(shape="debug"):
    model = random_network(SHAPES[shape], 0.3)
    model.early = EarlyKV(model.config, LAYER).requires_grad_(False)
    model.early.weight.normal_(std=0.2)
    model.early.bias.normal_()
    return model


@functools.cache
def native(shape="debug", path="", threads=2):
    return NativeModel(network(shape), threads=threads, path=path)


def prompt(model, cache, chunks, num_deep, ids_BT):
    """Logits of a prompt's last rows and of a branch of MASK rows behind it.

    The prompt is read in chunks; all rows but the last `num_deep` leave early.
    """
    start = 0
    for size in chunks:
        model(
            ids_BT[:, start : start + size],
            cache=cache,
            start=start,
            rows=slice(0, 0),
            num_early=size,
        )
        start += size
    num_masks, mask = 3, model.config.mask_id
    rest = ids_BT.shape[1] - start
    last_BT = torch.cat([ids_BT[:, start:], torch.full((1, num_masks), mask)], dim=1)
    return model(
        last_BT,
        cache=cache,
        start=start,
        attention=Branches((0,) * (rest - 1) + (num_masks,)),
        gate_BT=last_BT == mask,
        rows=slice(rest - num_deep, None),
        num_early=rest - num_deep,
    )[0]


CHUNKS = [(), (1,), (16,), (40, 21), (33, 33, 33)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("num_deep", [1, 5])
@torch.inference_mode()
def test_native_rows_leave_as_those_of_pytorch(shape, chunks, num_deep):
    ids_BT = random_ids(110)
    reference, model = network(shape), native(shape)
    cache = KVCache.allocate(reference.config, 120, dtype=torch.float32, device=CPU)
    expected = prompt(reference, cache, chunks, num_deep, ids_BT)
    actual = prompt(model, model.allocate(120), chunks, num_deep, ids_BT)
    error = float((actual - expected).norm() / expected.norm())
    assert error < 0.05


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", SHAPES)
@torch.inference_mode()
def test_paths_threads_and_chunks_make_no_difference(shape, path):
    ids_BT = random_ids(110)
    first = native(shape, "portable", 1)
    expected = prompt(first, first.allocate(120), (), 2, ids_BT)
    for threads in (1, 3):
        for chunks in CHUNKS:
            model = native(shape, path, threads)
            assert torch.equal(prompt(model, model.allocate(120), chunks, 2, ids_BT), expected)


@torch.inference_mode()
def test_a_prompt_that_is_only_read_keeps_its_first_position():
    """Its keys and values are those of a row that goes all the way."""
    model, ids_BT = native(), random_ids(40)
    full, part = model.allocate(64), model.allocate(64)
    model(ids_BT, cache=full, rows=slice(0, 0))
    model(ids_BT, cache=part, rows=slice(0, 0), num_early=40)
    for name in ("key_scales", "value_scales"):
        one, other = getattr(full, name), getattr(part, name)
        assert torch.equal(one[:LAYER, :, :40], other[:LAYER, :, :40])
        assert torch.equal(one[:, :, 0], other[:, :, 0])
        assert not torch.equal(one[LAYER + 1 :, :, 1:40], other[LAYER + 1 :, :, 1:40])


@torch.inference_mode()
def test_without_a_map_nobody_leaves():
    plain = Transformer(DEBUG).eval().requires_grad_(False)
    model = NativeModel(plain, threads=2)
    assert model.early_layer is None
    ids_BT = random_ids(40)
    rows = slice(39, None)
    assert torch.equal(model(ids_BT, rows=rows, num_early=39), model(ids_BT, rows=rows))
