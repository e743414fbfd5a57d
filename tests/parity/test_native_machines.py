"""Paths for machines that are not at hand, on emulated instructions, and one that computes wrongly.

The library is compiled anew from sources in which AMX and AVX-VNNI are replaced by stand-ins
(emulated.h), their absence is overlooked, and AVX2 has a slip. What the real instructions do is
tried out on each machine when the library is loaded.
"""

import itertools
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from model.config import NAMED
from model.network import Transformer
from sampler.kernels.cpu import build_hook, library
from sampler.kernels.cpu.native import NativeModel

DEBUG = NAMED["debug"]
EMULATED = ("amx", "avxvnni")
has_avx512 = library.is_available() and "avx512" in library.paths()
compiler = build_hook.find_compiler()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        compiler is None or not has_avx512, reason="needs a compiler and AVX-512 to emulate with"
    ),
]


def replaced(path: Path, *pairs: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kernels")
    for source in Path(library.__file__).parent.glob("*.[ch]*"):
        shutil.copy(source, folder)
    header = Path(__file__).with_name("emulated.h")
    replaced(
        folder / "path_amx.cpp",
        ('asm volatile("ldtilecfg %0" : : "m"(shapes) : "memory")', "emulated::configure(&shapes)"),
        ('#include "avx512.h"', f'#include "{header}"\n#include "avx512.h"'),
    )
    replaced(
        folder / "path_avxvnni.cpp",
        ('#include "avx2.h"', f'#include "{header}"\n#include "avx2.h"'),
    )
    replaced(
        folder / "machine.cpp",
        ("bool has_amx() {", "bool has_amx() { return true;"),
        ("bool has_avxvnni() {", "bool has_avxvnni() { return true;"),
    )
    replaced(
        folder / "path_avx2.cpp",
        ("add_pairs(sum, odd[half], odds)", "add_pairs(sum, odd[half], evens)"),
    )
    flags = build_hook.PATHS | {"path_avxvnni.cpp": build_hook.AVX512}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_hook, "PATHS", flags)
        fast = tuple("-O1" if flag == "-O3" else flag for flag in build_hook.FLAGS)
        patch.setattr(build_hook, "FLAGS", fast)  # to compile
        assert compiler is not None
        build_hook.compile_library(compiler, folder)
    return folder


@pytest.fixture
def foreign(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    library.load_library.cache_clear()
    monkeypatch.setattr(library, "__file__", str(folder / "library.py"))
    yield
    library.load_library.cache_clear()


def test_a_path_that_computes_something_else_is_not_used(
    foreign: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert library.paths() == ["amx", "avx512", "avxvnni", "portable"]
    assert "avx2" in caplog.text


@pytest.mark.parametrize("path", EMULATED)
def test_every_path_gives_the_same_bits(path: str, foreign: None) -> None:
    torch.manual_seed(3)
    model = Transformer(DEBUG).eval().requires_grad_(False)
    ids_BT = torch.randint(0, DEBUG.vocab_size, (1, 90))
    expected = NativeModel(model, threads=1, path="portable")(ids_BT)
    packed = NativeModel(model, threads=2, path=path)
    assert torch.equal(packed(ids_BT), expected)
    cache = packed.allocate(90)
    edges = [0, 1, 3, 11, 27, 28, 60, 90]
    parts = [
        packed(ids_BT[:, begin:end], cache=cache, start=begin)
        for begin, end in itertools.pairwise(edges)
    ]
    assert torch.equal(torch.cat(parts, dim=1), expected)
