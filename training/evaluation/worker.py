"""An engine in a process of its own, so that engines share neither threads nor memory figures."""

import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from sampler.messages import Complete, Finished
from training.evaluation.engines import EngineError, EngineSpec, MeasuredEngine, open_measured

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")
_engine: MeasuredEngine | None = None
"""In the worker process only."""


class Worker:
    """Opens an engine in a fresh process and hands requests to it one by one."""

    def __init__(self, spec: EngineSpec) -> None:
        # Spawned, not forked: threads of libraries do not survive a fork.
        self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        self._spec = spec
        self.is_alive = True

    def open(self) -> dict[str, Any]:
        """Load the engine; returns its resolved settings.

        Raises:
            ValueError: with one sentence, if it cannot be opened.
        """
        return self._call(_open, self._spec)

    def complete(self, request: Complete) -> tuple[Finished, float]:
        """The answer, and the peak resident memory of the engine's process in MiB.

        Raises:
            EngineError: if there is no answer.
        """
        return self._call(_complete, request)

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()

    def _call(self, function: Callable[[_Argument], _Result], argument: _Argument) -> _Result:
        try:
            return self._pool.submit(function, argument).result()
        except BrokenProcessPool as error:
            self.is_alive = False
            raise EngineError(f"The process of {self._spec.engine} died.") from error


def _open(spec: EngineSpec) -> dict[str, Any]:
    global _engine
    _engine = open_measured(spec)
    return _engine.settings


def _complete(request: Complete) -> tuple[Finished, float]:
    assert _engine is not None
    finished = _engine.complete(request)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return finished, peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)  # bytes · KiB
