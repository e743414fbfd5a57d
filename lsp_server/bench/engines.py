"""What is measured: an engine of the bench's own, by what is known of this machine, and the rival.

Knows no prompts and no figures.
"""

import importlib.util
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lsp_server.bench.line import Line, Report, open_line
from lsp_server.engine_client import ENGINE_COMMAND
from lsp_server.settings import ENGINE_KEYS, Settings, engine_arguments
from lsp_server.tune import MEASURING
from model.weight_file import Progress
from sampler.machine import load_per_cpu
from sampler.messages import Tune, Tuned, Tuning
from sampler.profile import BUSY_LOAD

SETTINGS = (*sorted(ENGINE_KEYS), "layout", "mode")
"""That decide a figure."""
RivalName = Literal["llama.cpp"]
RIVAL_COMMAND = (sys.executable, "-I", "-m", "sampler.rival")
IDLE_EXIT_S = 20
"""An engine whose bench was killed leaves by itself."""


@dataclass(frozen=True)
class Contenders:
    """Who takes part, each ready to be asked."""

    ours: Line
    tuned: Tuned
    rival: Line | None
    settings: Settings

    def describe(self) -> dict[str, Any]:
        """Everything about them that decides a figure."""
        ready, profile = self.ours.ready, self.tuned.profile
        return {
            "engine": {
                "model": ready.model,
                "device": ready.device,
                "kernels": ready.kernels,
                "has_adapter": ready.has_adapter,
                "threads": self.settings.threads if profile is None else profile.threads,
                "is_tuned": profile is not None,
                "tuned_choice": self.tuned.choice and asdict(self.tuned.choice),
                "settings": {key: getattr(self.settings, key) for key in SETTINGS},
            },
            "rival": self.rival
            and {"model": self.rival.ready.model, "build": self.rival.ready.kernels},
        }


def engine_command(settings: Settings) -> list[str]:
    """What starts an engine of these settings that no editor shares."""
    return [*ENGINE_COMMAND, "--idle-exit", str(IDLE_EXIT_S), *engine_arguments(settings)]


def rival_command(settings: Settings, weights: Path, rival_model: Path | None) -> list[str]:
    """What starts llama.cpp on our file, or on another one.

    Raises:
        ValueError: if it is not installed, or there is no such file, or it is none that it reads.
    """
    if importlib.util.find_spec("llama_cpp") is None:
        raise ValueError(
            "llama.cpp is measured through llama-cpp-python, which is not installed: "
            "pip install -e '.[bench]'"
        )
    path = rival_model or weights
    if path.is_dir():
        raise ValueError(f"llama.cpp reads GGUF files, {path} is a folder: see --rival-model")
    try:
        with path.open("rb") as file:
            is_gguf = file.read(4) == b"GGUF"
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if not is_gguf:
        raise ValueError(f"llama.cpp reads GGUF files, {path} is none: see --rival-model")
    command = [*RIVAL_COMMAND, "--model", str(path.absolute())]
    if settings.threads is not None:
        command += ["--threads", str(settings.threads)]
    return command


@asynccontextmanager
async def open_contenders(
    settings: Settings,
    report: Report,
    rival: Sequence[str] | None = None,
    *,
    is_shared: bool = False,
) -> AsyncIterator[Contenders]:
    """Start our engine and, with a command for it, the rival; both end with the context.

    Args:
        settings: of our engine.
        report: is told what is going on.
        rival: what starts it; it computes where we do.
        is_shared: whether ours is the one that editors use, which stays.

    Raises:
        EngineFailedError: if one cannot serve.
    """
    async with AsyncExitStack() as stack:
        command = engine_command(settings)
        if is_shared:
            command = [*ENGINE_COMMAND, *engine_arguments(settings)]
        line = open_line(command, report, is_shared=is_shared)
        ours = await stack.enter_async_context(line)
        tuned = Tuned("off")
        if settings.tune == "auto":
            tuned = await ask_profile(ours, report)
        opened = None
        if rival is not None:
            device = "cuda" if ours.ready.device.startswith("cuda") else "cpu"
            line = open_line([*rival, "--device", device], report)
            opened = await stack.enter_async_context(line)
        yield Contenders(ours, tuned, opened, settings)


async def ask_profile(line: Line, report: Report) -> Tuned:
    """What is known of this machine; it is measured first if that is nothing, or was measured
    beside other work and could be measured better now.

    Raises:
        EngineFailedError: if the engine ends or cannot measure.
    """
    tuned = await _ask(line, Tune("known", is_question=True), report)
    profile = tuned.profile
    is_quiet = load_per_cpu() <= BUSY_LOAD
    # Otherwise the engine would do so by itself while it waits for its turn beside a rival.
    if profile is None or (profile.is_doubtful and is_quiet):
        return await _ask(line, Tune("measure"), report)
    return tuned


async def _ask(line: Line, request: Tune, report: Report) -> Tuned:
    line.send(request)
    while True:
        event, _ = await line.receive()
        if isinstance(event, Tuned):
            return event
        if isinstance(event, Tuning):
            report(Progress(MEASURING, event.fraction))
