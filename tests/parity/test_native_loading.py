"""Weights into the native kernels, and who computes where they cannot."""

import copy
import json
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model import weights
from model.adapter import Adapter, AdapterConfig, save_adapter
from model.network import Transformer
from model.weights import StoredWeights, load_model, save_model
from sampler.kernels.cpu import library
from sampler.kernels.cpu.native import NativeModel
from sampler.load import choose_kernels, open_engine
from tests.native_parts import (
    CPU,
    DEBUG,
    SHAPES,
    has_library,
    native,
    needs_library,
    network,
    random_ids,
    relative_error,
)
from tests.tiny import tiny_vocabulary, tokenizer_json


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
        "from sampler.kernels.cpu.native import NativeModel;"
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
        from sampler.kernels.cpu.native import NativeModel

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
