"""The native CPU kernels against the network in PyTorch, and against themselves, bit for bit."""

import copy
import functools
import inspect
import itertools
import json
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from model import weights
from model.adapter import Adapter, AdapterConfig, save_adapter
from model.config import NAMED
from model.coupling import NUM_CANDIDATES, Coupling
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import read_vocabulary
from model.masks import Branches
from model.network import KVCache, Transformer
from model.weights import StoredWeights, load_model, save_model
from sampler.kernels.cpu import library
from sampler.kernels.cpu.native import NUM_DRAFT_IDS, NativeModel
from sampler.load import choose_kernels, open_engine
from sampler.policy import shares
from sampler.runner import next_ids
from tests.tiny import tiny_vocabulary, tokenizer_json

CPU = torch.device("cpu")
DEBUG = NAMED["debug"]
SHAPES = {
    "debug": DEBUG,
    "tied": replace(DEBUG, is_tied=True, num_heads=6, num_kv_heads=2),
    # A vocabulary that ends within a tile, groups of 16 inputs, panels that are half full.
    "odd": replace(DEBUG, vocab_size=517, width=48, num_heads=3, num_kv_heads=1, ffn_width=144),
    "llama": replace(
        DEBUG, architecture="llama", has_qkv_bias=False, head_dim=32, rope_factors=(2.0,) * 16
    ),
    # So large that weights are kept in fewer bits, the head's in 4 + 4, those of the ffn in 6; and
    # with ids that drafts do not choose among.
    "large": replace(DEBUG, vocab_size=70_011, width=128, ffn_width=4096, is_tied=True),
}
MASK = DEBUG.mask_id

has_library = library.is_available()
PATHS = library.paths() if has_library else []
needs_library = pytest.mark.skipif(not has_library, reason="the native kernels are not built")


@functools.cache
def network(shape: str = "debug", has_adapter: bool = False) -> Transformer:
    torch.manual_seed(5)
    config = SHAPES[shape]
    model = Transformer(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            parameter.uniform_(0.5, 1.5)
        elif "qkv" in name:
            parameter.mul_(2.0)
    if has_adapter:
        # A rank that fills no panel.
        model.adapter = Adapter(config, AdapterConfig(5, 10.0)).requires_grad_(False)
        model.adapter.start_mask_at(model.embedding.weight)
        model.adapter.randomize()
    return model


@functools.cache
def native(
    shape: str = "debug", has_adapter: bool = False, path: str = "", threads: int = 2
) -> NativeModel:
    return NativeModel(network(shape, has_adapter), threads=threads, path=path)


def random_ids(num_rows: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, DEBUG.vocab_size, (1, num_rows), generator=generator)


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


@needs_library
@pytest.mark.parametrize("shape", SHAPES)
@torch.inference_mode()
def test_logits_are_those_of_pytorch_but_for_rounding(shape: str) -> None:
    ids_BT = random_ids(90)
    actual, expected = native(shape)(ids_BT), network(shape)(ids_BT)
    assert actual.shape == expected.shape
    assert relative_error(actual, expected) < (0.05 if shape == "large" else 0.03)
    # What int8 costs is noise, not a shift that a mistake in one part would be.
    assert abs(float((actual - expected).mean())) < 0.01 * float(expected.std())


@needs_library
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", SHAPES)
@torch.inference_mode()
def test_all_paths_and_thread_counts_give_the_same_bits(shape: str, path: str) -> None:
    ids_BT = random_ids(75)
    ids_BT[0, 60:] = SHAPES[shape].mask_id
    gate_BT = ids_BT == SHAPES[shape].mask_id
    reference = native(shape, True, "portable", 1)
    expected = reference(ids_BT, gate_BT=gate_BT)
    judged = reference.judge(ids_BT, gate_BT=gate_BT)
    for threads in (1, 2, 3):
        model = native(shape, True, path, threads)
        assert model.path == path
        assert torch.equal(model(ids_BT, gate_BT=gate_BT), expected)
        other = model.judge(ids_BT, gate_BT=gate_BT)
        assert torch.equal(other.tokens_L, judged.tokens_L)
        assert torch.equal(other.confidence_L, judged.confidence_L)
        assert torch.equal(other.shares_L, judged.shares_L)


@needs_library
@settings(max_examples=30, deadline=None)
@given(cuts=st.sets(st.integers(1, 99), max_size=12), path=st.sampled_from(PATHS))
def test_rows_at_once_are_rows_one_by_one_bit_for_bit(cuts: set[int], path: str) -> None:
    model, ids_BT = native(path=path), random_ids(100)
    expected = model(ids_BT)
    cache = model.allocate(100)
    edges = [0, *sorted(cuts), 100]
    parts = [
        model(ids_BT[:, begin:end], cache=cache, start=begin)
        for begin, end in itertools.pairwise(edges)
    ]
    assert torch.equal(torch.cat(parts, dim=1), expected)


@needs_library
@pytest.mark.parametrize("path", PATHS)
def test_every_number_of_rows_gives_the_bits_of_one_row(path: str) -> None:
    model, ids_BT = native("odd", path=path), random_ids(45)
    cache = model.allocate(45)
    single = [model(ids_BT[:, i : i + 1], cache=cache, start=i)[:, 0] for i in range(45)]
    expected = torch.stack(single, dim=1)
    for num_rows in range(1, 46):
        assert torch.equal(model(ids_BT[:, :num_rows]), expected[:, :num_rows])


@needs_library
@pytest.mark.parametrize("path", PATHS)
@torch.inference_mode()
def test_a_canvas_sees_all_of_itself_but_for_its_first_row(path: str) -> None:
    ids_BT = random_ids(40)
    ids_BT[0, 29:] = MASK
    ids_BT[0, 33] = 7
    plain, model = network(has_adapter=True), native(has_adapter=True, path=path)
    kv = KVCache.allocate(DEBUG, 40, dtype=torch.float32, device=CPU)
    plain(ids_BT[:, :28], cache=kv)
    cache = model.allocate(40)
    context = model(ids_BT[:, :28], cache=cache)
    canvas_BT = ids_BT[:, 28:]
    gate_BT = canvas_BT == MASK
    rows = slice(0, 11)
    expected = plain(canvas_BT, cache=kv, start=28, attention="canvas", gate_BT=gate_BT, rows=rows)
    actual = model(canvas_BT, cache=cache, start=28, attention="canvas", gate_BT=gate_BT, rows=rows)
    assert relative_error(actual, expected) < 0.05
    causal = model(canvas_BT, cache=cache, start=28)
    assert torch.equal(actual[:, 0], causal[:, 0]), "the settled row sees no draft"
    assert not torch.equal(actual[:, 1], causal[:, 1])
    assert torch.equal(model(ids_BT[:, :28]), context), "the context is as it was"


@needs_library
@pytest.mark.parametrize("path", PATHS)
@torch.inference_mode()
def test_branches_neither_touch_the_chain_nor_each_other(path: str) -> None:
    plain, model = network(has_adapter=True), native(has_adapter=True, path=path)
    context_BT, chain_BT = random_ids(30), random_ids(3, seed=1)
    kv = KVCache.allocate(DEBUG, 60, dtype=torch.float32, device=CPU)
    plain(context_BT, cache=kv)
    cache = model.allocate(60)
    model(context_BT, cache=cache)
    causal = model(chain_BT, cache=cache, start=30)
    for sizes in [(4, 0, 2), (0, 0, 9), (1, 2, 3), (0, 0, 0)]:
        branches = Branches(sizes)
        masks_BT = torch.full((1, sum(sizes)), MASK)
        ids_BT = torch.cat([chain_BT, masks_BT], dim=1)
        call = {"start": 30, "attention": branches, "gate_BT": ids_BT == MASK}
        actual = model(ids_BT, cache=cache, **call)
        assert torch.equal(actual[:, :3], causal), "the chain is judged as without branches"
        assert relative_error(actual, plain(ids_BT, cache=kv, **call)) < 0.05
        judged = model.judge(ids_BT, cache=cache, **call)
        assert torch.equal(judged.tokens_L, actual[0].argmax(-1))
        for row, size in enumerate(sizes):
            alone = Branches((0,) * row + (size,))
            gate_BT = torch.arange(alone.num_rows)[None] > row
            ids_alone_BT = torch.where(gate_BT, MASK, ids_BT[:, : alone.num_rows])
            expected = model(ids_alone_BT, cache=cache, start=30, attention=alone, gate_BT=gate_BT)
            torch.testing.assert_close(
                actual[:, branches.branch(row)],
                expected[:, alone.branch(row)],
                atol=1e-3,
                rtol=1e-3,
            )


@needs_library
@pytest.mark.parametrize("path", PATHS)
@torch.inference_mode()
def test_the_adapter_acts_on_gated_rows_only(path: str) -> None:
    ids_BT = random_ids(50)
    base, model = native(path=path), native(has_adapter=True, path=path)
    assert base.adapter is None
    assert model.adapter is not None
    assert torch.equal(model(ids_BT), base(ids_BT))
    gate_BT = torch.zeros(1, 50, dtype=torch.bool)
    assert torch.equal(model(ids_BT, gate_BT=gate_BT), base(ids_BT))
    gate_BT[0, 37:41] = True
    gated = model(ids_BT, gate_BT=gate_BT)
    assert torch.equal(gated[:, :37], base(ids_BT)[:, :37])
    attention = torch.ones(50, 50, dtype=torch.bool).tril()
    expected = network(has_adapter=True)(ids_BT, gate_BT=gate_BT, attention=attention)
    assert relative_error(gated, expected) < 0.05
    assert relative_error(base(ids_BT)[:, 37:41], expected[:, 37:41]) > 0.3


@needs_library
def test_an_adapter_comes_and_goes() -> None:
    ids_BT = torch.tensor([[3, 5, MASK, MASK]])
    gate_BT = ids_BT == MASK
    model = NativeModel(network(), threads=1)
    without = model(ids_BT, gate_BT=gate_BT)
    model.adapter = network(has_adapter=True).adapter
    assert torch.equal(
        model(ids_BT, gate_BT=gate_BT), native(has_adapter=True)(ids_BT, gate_BT=gate_BT)
    )
    model.adapter = None
    assert torch.equal(model(ids_BT, gate_BT=gate_BT), without)
    assert relative_error(without, network()(ids_BT)) < 0.03, "MASK is the mean embedding"


@needs_library
@pytest.mark.parametrize("rows", [slice(0, 0), slice(59, 60), slice(7, 30), None])
@pytest.mark.parametrize("shape", ["debug", "odd"])
def test_rows_with_logits_are_a_slice_of_all(shape: str, rows: slice | None) -> None:
    model, ids_BT = native(shape), random_ids(60)
    expected = model(ids_BT)[:, rows or slice(None)]
    assert torch.equal(model(ids_BT, rows=rows), expected)
    judged = model.judge(ids_BT, rows=rows)
    assert torch.equal(judged.tokens_L, expected[0].argmax(-1))
    confidence_L = expected[0].softmax(-1).amax(-1)
    torch.testing.assert_close(judged.confidence_L, confidence_L, atol=1e-5, rtol=1e-5)
    behind = next_ids(ids_BT, model.config.mask_id)[rows or slice(None)]
    assert torch.equal(judged.shares_L == 0, behind == model.config.mask_id)
    torch.testing.assert_close(judged.shares_L, shares(expected[0], behind), atol=1e-5, rtol=1e-5)


@needs_library
@torch.inference_mode()
def test_a_large_vocabulary_is_screened_by_the_leading_bits_of_the_head() -> None:
    """What is chosen is the best of whole logits, and what is said of it is of these, too."""
    model, ids_BT = native("large"), random_ids(90)
    logits_RV = model(ids_BT)[0]
    judged = model.judge(ids_BT)
    p_RV = logits_RV.softmax(-1)
    best_R = logits_RV.argmax(-1)
    is_best_R = judged.tokens_L == best_R
    assert int((~is_best_R).sum()) <= 1, "an id that hides behind another of its lane"
    torch.testing.assert_close(
        judged.confidence_L[is_best_R], p_RV.amax(-1)[is_best_R], rtol=0.05, atol=0
    )
    next_R = ids_BT[0, 1:]
    shares_R = p_RV[:-1].gather(1, next_R[:, None])[:, 0] / p_RV[:-1].amax(-1)
    torch.testing.assert_close(
        judged.shares_L[:-1][is_best_R[:-1]], shares_R[is_best_R[:-1]], rtol=1e-3, atol=1e-6
    )
    greedy_BT = judged.tokens_L[None]
    assert float(model.judge(greedy_BT).shares_L.max()) <= 1
    asked = model.judge(ids_BT, needs_logits=True)
    assert torch.equal(asked.logits, logits_RV)
    assert torch.equal(asked.tokens_L, judged.tokens_L)
    assert torch.equal(asked.confidence_L, judged.confidence_L)


@needs_library
@pytest.mark.parametrize("path", PATHS)
@torch.inference_mode()
def test_drafts_choose_among_the_first_ids(path: str) -> None:
    config = SHAPES["large"]
    model, ids_BT = native("large", True, path), random_ids(60)
    branches = Branches((2,) * 20)
    ids_BT[0, 20:] = config.mask_id
    gate_BT = ids_BT == config.mask_id
    logits_RV = model(ids_BT, gate_BT=gate_BT, attention=branches)[0]
    judged = model.judge(ids_BT, gate_BT=gate_BT, attention=branches)
    assert int((logits_RV[20:].argmax(-1) >= NUM_DRAFT_IDS).sum()) > 0, "the case occurs"
    expected_R = torch.cat([logits_RV[:20].argmax(-1), logits_RV[20:, :NUM_DRAFT_IDS].argmax(-1)])
    assert int((judged.tokens_L != expected_R).sum()) <= 1
    p_R = logits_RV[20:, :NUM_DRAFT_IDS].softmax(-1).amax(-1)
    torch.testing.assert_close(judged.confidence_L[20:], p_R, rtol=0.05, atol=0)
    # Without branches there are no drafts: a canvas, for one, is what is shown.
    denoised = model.judge(ids_BT, gate_BT=gate_BT)
    whole_RV = model(ids_BT, gate_BT=gate_BT)[0]
    assert int((denoised.tokens_L != whole_RV.argmax(-1)).sum()) <= 1
    assert int((denoised.tokens_L >= NUM_DRAFT_IDS).sum()) > 0


@needs_library
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", ["debug", "tied", "odd"])
@torch.inference_mode()
def test_candidates_are_the_best_of_the_logits(shape: str, path: str) -> None:
    config = SHAPES[shape]
    plain = copy.deepcopy(network(shape, has_adapter=True))
    assert plain.adapter is not None
    plain.adapter.coupling = Coupling(config.width, 5).requires_grad_(False)
    plain.adapter.config = replace(plain.adapter.config, coupling_rank=5)
    model = NativeModel(plain, threads=2, path=path)
    ids_BT = random_ids(40)
    ids_BT[0, 30:] = config.mask_id
    gate_BT = ids_BT == config.mask_id
    log_p_LV = model(ids_BT, gate_BT=gate_BT)[0].log_softmax(-1)
    for first in (0, 31):
        rows = slice(first, 39)
        judged = model.judge(ids_BT, gate_BT=gate_BT, rows=rows)
        assert judged.candidates is not None
        asked = model.judge(ids_BT, gate_BT=gate_BT, rows=rows, needs_logits=True)
        assert torch.equal(asked.logits, model(ids_BT, gate_BT=gate_BT, rows=rows)[0])
        assert torch.equal(asked.tokens_L, judged.tokens_L)
        assert asked.candidates is not None
        assert torch.equal(asked.candidates.ids_LK, judged.candidates.ids_LK)
        masked = judged.candidates.rows(slice(30 - first if first < 30 else 0, None))
        expected_LV = log_p_LV[30 if first < 30 else first : 39]
        # One of each lane of 16 and chunk of 512 ids: the rest are those of a plain search.
        padded_LV = F.pad(expected_LV, (0, -config.vocab_size % 512), value=-torch.inf)
        lanes_LCT = padded_LV.view(len(padded_LV), -1, 32, 16).amax(2)
        torch.testing.assert_close(
            masked.log_p_LK, lanes_LCT.flatten(1).topk(NUM_CANDIDATES).values, atol=1e-4, rtol=1e-4
        )
        found_LK = expected_LV.gather(1, masked.ids_LK)
        torch.testing.assert_close(masked.log_p_LK, found_LK, atol=1e-4, rtol=1e-4)
        assert torch.equal(masked.ids_LK[:, 0], expected_LV.argmax(-1))
        logits_LV = F.linear(masked.hidden_LD, plain.head.weight)
        assert relative_error(logits_LV.log_softmax(-1), expected_LV) < 0.02
        chosen, _ = model.couple(masked, 3)
        assert chosen == expected_LV.argmax(-1).tolist(), "a fresh coupling changes nothing"
        plain.adapter.coupling.back.normal_(std=0.1)
        model.adapter = plain.adapter
        tokens, before, num_same = [], 3, 0
        for row in range(len(masked.ids_LK)):
            alone = masked.rows(slice(row, row + 1))
            (token,), (probability,) = model.couple(alone, before)
            (expected,), (share,) = plain.couple(alone, before)
            num_same += token == expected and abs(probability - share) < 0.05
            tokens.append(token)
            before = token
        assert num_same >= len(tokens) - 1, "8-bit tables may tip one"
        assert model.couple(masked, 3)[0] == tokens
        assert tokens != chosen
        plain.adapter.coupling.back.zero_()
        model.adapter = plain.adapter
    assert model.judge(ids_BT, rows=slice(0, 5)).candidates is None, "no row is gated"


@needs_library
def test_keys_and_values_of_rows_without_logits_are_in_the_cache() -> None:
    model, ids_BT = native(), random_ids(60)
    cache = model.allocate(60)
    model(ids_BT[:, :59], cache=cache, rows=slice(0, 0))
    last = model(ids_BT[:, 59:], cache=cache, start=59)
    assert torch.equal(last[0, 0], model(ids_BT)[0, 59])


@needs_library
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_any_type_are_taken(dtype: torch.dtype) -> None:
    model = copy.deepcopy(network()).to(dtype)
    expected = model.float()(random_ids(20))
    actual = NativeModel(copy.deepcopy(network()).to(dtype), threads=1)(random_ids(20))
    assert relative_error(actual, expected) < 0.03


@needs_library
@pytest.mark.parametrize("shape", ["debug", "tied", "odd"])
def test_weights_poured_from_their_file_are_those_of_the_network(
    shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "NUMBERS_AT_ONCE", 1000)
    save_model(network(shape), tmp_path)
    poured = NativeModel(StoredWeights(tmp_path), threads=1)
    ids_BT = random_ids(20)
    assert torch.equal(poured(ids_BT), native(shape)(ids_BT))
    mask_BT = torch.tensor([[3, SHAPES[shape].mask_id]])
    torch.testing.assert_close(poured(mask_BT), native(shape)(mask_BT))


@needs_library
def test_an_adapter_and_the_update_of_its_base_come_with_the_file(tmp_path: Path) -> None:
    model = network(has_adapter=True)
    update = Adapter(DEBUG, AdapterConfig(3, 6.0)).requires_grad_(False)
    update.randomize(0.3)
    save_model(model, tmp_path)
    path = tmp_path / "adapter"
    assert model.adapter is not None
    save_adapter(model.adapter, DEBUG, path, update=update)
    whole = load_model(tmp_path, dtype=torch.float32, device=CPU, adapter=path)
    packed = NativeModel(whole, threads=1)
    poured = NativeModel(StoredWeights(tmp_path, adapter=path), threads=1)
    ids_BT, gate_BT = random_ids(20), torch.zeros(1, 20, dtype=torch.bool)
    gate_BT[0, 5:] = True
    for gate in (None, gate_BT):
        actual, expected = poured(ids_BT, gate_BT=gate), packed(ids_BT, gate_BT=gate)
        assert relative_error(actual, expected) < 0.01
    assert relative_error(poured(ids_BT), native()(ids_BT)) > 0.3, "the update is there"
    assert poured.adapter is not None
    assert poured.adapter.config == model.adapter.config


@needs_library
def test_loading_brings_in_no_compiler(tmp_path: Path) -> None:
    """PyTorch's own, which a careless call of `torch.device("meta")` loads: 170 MB, two seconds."""
    model = network(has_adapter=True)
    save_model(model, tmp_path)
    assert model.adapter is not None
    save_adapter(model.adapter, DEBUG, tmp_path / "adapter")
    program = (
        "import sys, pathlib; from model.weights import StoredWeights;"
        "from sampler.kernels.cpu.native import NUM_DRAFT_IDS, NativeModel;"
        "folder = pathlib.Path(sys.argv[1]);"
        "NativeModel(StoredWeights(folder, adapter=folder / 'adapter'), threads=1);"
        "sys.exit(any(name in sys.modules for name in ('sympy', 'triton', 'torch._dynamo')))"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True)


@needs_library
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="says nothing of its memory")
def test_a_cache_takes_memory_as_it_is_filled() -> None:
    """A program of its own: what others have freed is no measure."""
    program = """
        import resource, torch
        from dataclasses import replace
        from pathlib import Path
        from model.config import NAMED
        from model.network import Transformer
        from sampler.kernels.cpu.native import NUM_DRAFT_IDS, NativeModel

        def resident_mib():
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            return pages * resource.getpagesize() / 2**20

        config = replace(NAMED["debug"], num_layers=24)
        model = NativeModel(Transformer(config).eval())
        ids = torch.zeros(1, 64, dtype=torch.long)
        model(ids, cache=model.allocate(64))
        before = resident_mib()
        cache = model.allocate(16_384)
        model(ids, cache=cache)
        whole = (cache.keys.numel() + cache.values.numel()) * 2 / 2**20
        print(whole, resident_mib() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    whole, taken = map(float, done.stdout.split())
    assert whole == 48
    assert taken < 0.15 * whole


@needs_library
def test_mistakes_are_told() -> None:
    with pytest.raises(library.NativeError, match="no path 'riscv'"):
        NativeModel(network(), path="riscv")
    with pytest.raises(library.NativeError, match="multiples of 16"):
        NativeModel(Transformer(replace(DEBUG, ffn_width=100)))
    model = native()
    with pytest.raises(ValueError, match="too many"):
        model(torch.zeros(1, DEBUG.max_positions + 1, dtype=torch.long))
    with pytest.raises(AssertionError, match="no slot"):
        model(random_ids(6), cache=model.allocate(8), start=4)


def test_a_library_that_is_missing_or_foreign_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library.load_library.cache_clear()
    try:
        monkeypatch.setattr(library, "FILE_NAME", "nowhere.so")
        assert not library.is_available()
        with pytest.raises(library.NativeError, match="not built"):
            library.load_library()
        (tmp_path / "broken.so").write_bytes(b"no library")
        monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
        monkeypatch.setattr(library, "FILE_NAME", "broken.so")
        with pytest.raises(library.NativeError, match="cannot be loaded"):
            library.load_library()
    finally:
        monkeypatch.undo()
        library.load_library.cache_clear()


@needs_library
@pytest.mark.weights
@pytest.mark.slow
@torch.inference_mode()
def test_the_real_model_says_what_it_says_in_bfloat16(weights_path: Path) -> None:
    tokenizer = Tokenizer(read_vocabulary(weights_path))
    ids_BT = torch.tensor([tokenizer.encode(inspect.getsource(textwrap))[:600]])
    model = load_model(weights_path, dtype=torch.bfloat16, device=CPU)
    expected_TV = model(ids_BT)[0].log_softmax(-1)
    packed = NativeModel(model)
    actual_TV = packed(ids_BT)[0].log_softmax(-1)
    agreement = float((actual_TV.argmax(-1) == expected_TV.argmax(-1)).float().mean())
    divergence = float((expected_TV.exp() * (expected_TV - actual_TV)).sum(-1).mean())
    print(f"top-1 agreement {agreement:.4f}, KL divergence {divergence:.5f} nats")
    assert agreement >= 0.96
    assert divergence < 0.005

    cache = packed.allocate(600)
    edges = [0, 1, 17, 33, 300, 301, 302, 600]
    parts = [
        packed.judge(ids_BT[:, begin:end], cache=cache, start=begin)
        for begin, end in itertools.pairwise(edges)
    ]
    tokens_T = torch.cat([part.tokens_L for part in parts])
    assert torch.equal(tokens_T, packed.judge(ids_BT).tokens_L)
    assert int((tokens_T != actual_TV.argmax(-1)).sum()) <= 1, "an id hidden by one of its lane"


def test_who_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    if has_library:
        assert choose_kernels("auto", CPU, "auto") == "auto"
        assert choose_kernels("native", CPU, "float32") == "native"
    assert choose_kernels("auto", CPU, "float32") == "torch", "a named type is PyTorch's"
    assert choose_kernels("auto", torch.device("cuda"), "auto") in ("auto", "torch")
    assert choose_kernels("torch", torch.device("cuda"), "auto") == "torch"
    with pytest.raises(ValueError, match="Unknown kernels"):
        choose_kernels("fastest", CPU, "auto")
    with pytest.raises(ValueError, match="on a CPU, not on cuda"):
        choose_kernels("native", torch.device("cuda"), "auto")
    library.load_library.cache_clear()
    monkeypatch.setattr(library, "FILE_NAME", "nowhere.so")
    try:
        assert choose_kernels("auto", CPU, "auto") == "torch"
        with pytest.raises(ValueError, match="not built"):
            choose_kernels("native", CPU, "auto")
    finally:
        monkeypatch.undo()
        library.load_library.cache_clear()


@needs_library
def test_a_network_that_does_not_suit_the_kernels_runs_in_pytorch(tmp_path: Path) -> None:
    def runs_on(ffn_width: int) -> type:
        folder = tmp_path / str(ffn_width)
        save_model(Transformer(replace(DEBUG, ffn_width=ffn_width)), folder)
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json(tiny_vocabulary())))
        engine = open_engine(folder, device=CPU, dtype=torch.float32, kernels="auto")
        return type(engine.runner.model)

    assert runs_on(128) is NativeModel
    assert runs_on(100) is Transformer


@pytest.mark.parametrize("compiler", ["", "no-such-compiler"])
def test_without_a_compiler_the_hook_finds_none(
    compiler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sampler.kernels.cpu import build_hook

    monkeypatch.setenv("CXX", compiler)
    if compiler == "":
        monkeypatch.delenv("CXX")
        monkeypatch.setenv("PATH", "")
    assert build_hook.find_compiler() is None
