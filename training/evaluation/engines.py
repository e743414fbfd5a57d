"""The engines that are compared: ours, and llama.cpp on the same weights, prompts and stop rule.

Each answers one request at a time and forgets it: nothing is cached between two. Knows no tasks.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from sampler.messages import Complete, Failed, Finished
from sampler.rival import LlamaCpp, RivalError

EngineName = Literal["ours", "llama.cpp"]


class EngineError(ValueError):
    """An engine that cannot be opened or cannot answer; one sentence for a person."""


@dataclass(frozen=True)
class EngineSpec:
    """What it takes to open an engine, in whatever process."""

    engine: EngineName
    model: Path
    adapter: Path | None = None
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None
    block_size: int | None = None
    num_positions: int = 4096
    has_lookup: bool = True
    must_change: bool = True
    """Whether an edit that is the old code is refused (ours)."""
    kernels: str = "auto"


class MeasuredEngine(Protocol):
    """What evaluation asks of an engine."""

    settings: dict[str, Any]
    """Everything that decides result or speed, as resolved on this machine."""

    def complete(self, request: Complete) -> Finished:
        """Answer a request as if it were the first.

        Raises:
            EngineError: if there is no answer.
        """
        ...


def open_measured(spec: EngineSpec) -> MeasuredEngine:
    """Load an engine.

    Raises:
        EngineError: if llama-cpp-python is missing or refuses the file.
        ValueError: with one sentence, for whatever else is wrong with the files.
    """
    if spec.engine == "ours":
        return OwnEngine(spec)
    try:
        return LlamaCpp(
            spec.model,
            threads=spec.threads,
            num_positions=spec.num_positions,
            is_on_gpu=spec.device == "cuda",
        )
    except RivalError as error:
        raise EngineError(str(error)) from error


class OwnEngine:
    """`sampler.engine`, in this process."""

    def __init__(self, spec: EngineSpec) -> None:
        # Not at the top: the rival's process must not hold PyTorch when its memory is measured.
        import torch

        from sampler.kernels.cpu.native import NativeModel
        from sampler.load import choose_device, choose_kernels, open_engine

        device, dtype = choose_device(spec.device, spec.dtype, spec.threads)
        self._engine = open_engine(
            spec.model,
            device=device,
            dtype=dtype,
            adapter=spec.adapter,
            block_size=spec.block_size,
            has_lookup=spec.has_lookup,
            kernels=choose_kernels(spec.kernels, device, spec.dtype),
        )
        self._must_change = spec.must_change
        model = self._engine.runner.model
        is_native = isinstance(model, NativeModel)
        self.settings: dict[str, Any] = {
            "device": str(device),
            "kernels": self._engine.runner.kernels,
            "dtype": "int8" if is_native else str(dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "block_size": self._engine.settings.block_size,
            "max_steps": self._engine.settings.max_steps,
            "max_rows": self._engine.settings.max_rows,
            "costs_ms": self._engine.settings.costs_ms,
            "lookup": self._engine.settings.has_lookup,
            "policy": repr(self._engine.settings.policy),
            "delta": self._engine.settings.delta,
            "must_change": spec.must_change,
        }

    def complete(self, request: Complete) -> Finished:
        """See `MeasuredEngine`."""
        self._engine.cache.clear()
        must_change = self._must_change and bool(request.old_code)
        self._engine.submit(replace(request, must_change=must_change))
        while self._engine.has_work:
            for event in self._engine.step():
                if isinstance(event, Failed):
                    raise EngineError(event.message)
                if isinstance(event, Finished):
                    return event
        raise AssertionError("the engine ended without an answer")
