"""Compiles the native kernels when the package is installed; hatchling runs this, nothing else.

Without a C++ compiler the package installs all the same, and PyTorch computes. Each code path is a
file with the instructions that it may use; which one runs is chosen on the user's machine, so one
library serves all. Knows nothing of what it compiles.
"""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "sampler/kernels/cpu"
FILE_NAME = "libseed.so"
FLAGS = (
    *("-std=c++17", "-O3", "-fPIC", "-pthread", "-fvisibility=hidden", "-Wno-psabi"),
    # All paths must round alike: no fused multiply-add that is not written down.
    *("-ffp-contract=off", "-fno-math-errno"),
)
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni")
PATHS = {
    "path_amx.cpp": (*AVX512, "-mamx-tile", "-mamx-int8"),
    "path_avx512.cpp": AVX512,
    "path_avxvnni.cpp": ("-mavx2", "-mavxvnni"),
    "path_avx2.cpp": ("-mavx2",),
}
"""Files for one kind of machine; the others are compiled for any."""
OPTIONAL = ("path_amx.cpp", "path_avxvnni.cpp")
"""Left out by a compiler that does not know their flags (gcc before 11, clang before 12)."""


class CompileKernels(BuildHookInterface[Any]):
    """Puts the library next to its sources, and into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before a wheel is made, also for an editable install."""
        folder = Path(self.root, FOLDER)
        compiler = find_compiler()
        if compiler is None:
            self.app.display_warning("No C++ compiler: PyTorch will compute, which is slower.")
            return
        try:
            compile_library(compiler, folder)
        except subprocess.CalledProcessError as error:
            message = f"The native kernels do not compile; PyTorch will compute: {error.stderr}"
            self.app.display_warning(message)
            return
        build_data["artifacts"].append(f"{FOLDER}/{FILE_NAME}")
        build_data["pure_python"] = False
        # The library knows no Python: it suits every version on this platform.
        system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{system}"


def find_compiler() -> str | None:
    """The C++ compiler that `CXX` names, or a usual one."""
    if sys.platform not in ("linux", "darwin"):
        return None
    candidates = [os.environ["CXX"]] if "CXX" in os.environ else ["c++", "g++", "clang++"]
    return next((found for name in candidates if (found := shutil.which(name))), None)


def compile_library(compiler: str, folder: Path) -> None:
    """Compile all sources in `folder` at once and link them.

    Raises:
        subprocess.CalledProcessError: if the compiler refuses; its `stderr` says why.
    """
    has_x86 = platform.machine() in ("x86_64", "AMD64")

    def run(*arguments: str) -> None:
        subprocess.run([compiler, *arguments], check=True, capture_output=True, text=True)

    def is_compiled(source: Path) -> bool:
        if source.name not in OPTIONAL:
            return has_x86 or source.name not in PATHS
        return has_x86 and knows_flags(compiler, PATHS[source.name])

    sources = [source for source in sorted(folder.glob("*.cpp")) if is_compiled(source)]

    with tempfile.TemporaryDirectory() as objects, ThreadPoolExecutor() as pool:
        outputs = [f"{objects}/{source.stem}.o" for source in sources]
        jobs = [
            pool.submit(run, *FLAGS, *PATHS.get(source.name, ()), "-c", str(source), "-o", output)
            for source, output in zip(sources, outputs, strict=True)
        ]
        for job in jobs:
            job.result()
        linked = Path(objects, FILE_NAME)
        run("-shared", "-pthread", "-o", str(linked), *outputs)
        # Moved into place in one step: a process that has the old one mapped keeps it.
        staged = folder / f".{FILE_NAME}"
        shutil.copy(linked, staged)
        staged.replace(folder / FILE_NAME)


def knows_flags(compiler: str, flags: Sequence[str]) -> bool:
    """Whether a compiler can be asked for these instructions."""
    command = [compiler, *flags, "-fsyntax-only", "-x", "c++", os.devnull]
    return subprocess.run(command, capture_output=True).returncode == 0
