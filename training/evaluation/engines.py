"""The engines that are compared: ours, and llama.cpp on the same weights, prompts and stop rule.

Each answers one request at a time and forgets it: nothing is cached between two. Knows no tasks.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from model.format.healing import Continuations
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import read_vocabulary
from sampler.context import ContextLimits, build_context
from sampler.messages import Complete, Failed, Finished, Stats
from sampler.output import Output
from training.evaluation.machine import num_cores

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
    return OwnEngine(spec) if spec.engine == "ours" else LlamaCpp(spec)


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
        }

    def complete(self, request: Complete) -> Finished:
        """See `MeasuredEngine`."""
        self._engine.cache.clear()
        self._engine.submit(request)
        while self._engine.has_work:
            for event in self._engine.step():
                if isinstance(event, Failed):
                    raise EngineError(event.message)
                if isinstance(event, Finished):
                    return event
        raise AssertionError("the engine ended without an answer")


class LlamaCpp:
    """llama.cpp through llama-cpp-python: greedy, one token a forward, our prompts and stop rule.

    Its best settings on a CPU: flash attention, as many threads as cores, batches of 512.
    """

    def __init__(self, spec: EngineSpec) -> None:
        try:
            import llama_cpp
        except ImportError as error:
            raise EngineError(
                "llama.cpp is measured through llama-cpp-python, which is not installed: "
                "pip install -e '.[bench]'."
            ) from error
        if spec.model.is_dir():
            raise EngineError(f"llama.cpp reads GGUF files, {spec.model} is a folder.")
        vocabulary = read_vocabulary(spec.model)
        self._vocabulary, self._tokenizer = vocabulary, Tokenizer(vocabulary)
        self._continuations = Continuations(vocabulary, self._tokenizer)
        self._end_ids = vocabulary.end_ids | vocabulary.special_ids
        self._num_positions = spec.num_positions
        self._get_logits = llama_cpp.llama_get_logits
        threads = spec.threads or num_cores()
        try:
            self._llama: Any = llama_cpp.Llama(
                str(spec.model),
                n_ctx=spec.num_positions,
                n_batch=512,
                n_threads=threads,
                n_threads_batch=threads,
                n_gpu_layers=-1 if spec.device == "cuda" else 0,
                flash_attn=True,
                verbose=False,
            )
        except ValueError as error:  # the library's own, e.g. for a damaged file
            raise EngineError(f"llama.cpp cannot open {spec.model}: {error}.") from error
        self.settings: dict[str, Any] = {
            "llama_cpp_python": llama_cpp.__version__,
            "build": llama_cpp.llama_print_system_info().decode().strip(" |"),
            "threads": threads,
            "flash_attention": True,
            "batch": 512,
        }

    def complete(self, request: Complete) -> Finished:
        """See `MeasuredEngine`."""
        started = time.perf_counter()
        limits = ContextLimits(self._num_positions - request.max_new_tokens)
        context = build_context(request, self._vocabulary, self._tokenizer, limits)
        output = Output(self._tokenizer, self._end_ids, request.plan, request.max_new_tokens)
        output.required = context.required
        prompt = context.tokens[: len(context.tokens) - context.num_healed]

        self._llama.reset()
        self._llama.eval(prompt)
        prefill_ms = 1000 * (time.perf_counter() - started)
        forwards, first_text_ms = 0, None
        for token in self._tokens(output):
            if output.push([token]) and first_text_ms is None:
                first_text_ms = 1000 * (time.perf_counter() - started)
            if output.stop is not None:
                break
            self._llama.eval([token])
            forwards += 1
        assert output.stop is not None
        stats = Stats(
            tokens=output.num_tokens,
            forwards=forwards,
            prefill_tokens=len(prompt),
            first_block_ms=first_text_ms,
            prefill_ms=prefill_ms,
            total_ms=1000 * (time.perf_counter() - started),
        )
        return Finished(request.request_id, output.shown, output.stop, stats)

    def _tokens(self, output: Output) -> Iterator[int]:
        """The most likely next token, again and again, within what has to be spelled first."""
        while True:
            logits_V = self._logits()
            if output.required_left:
                ids = self._continuations.of(output.required_left)
                yield int(ids[logits_V[ids].argmax()])
            else:
                yield int(logits_V.argmax())

    def _logits(self) -> npt.NDArray[np.float32]:
        """Logits (V,) after the last token, a view of the library's own memory."""
        pointer = self._get_logits(self._llama.ctx)
        return np.ctypeslib.as_array(pointer, shape=(self._llama.n_vocab(),))
