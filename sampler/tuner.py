"""The measurement's place beside an engine's requests: in slices of one forward, when it has none.

What came out is used at once and kept for the next start. Knows neither sockets nor clients.
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from model.config import NAMED
from sampler.drafting import LONGEST_BRANCH
from sampler.engine import Engine
from sampler.kernels.cpu import library
from sampler.kernels.cpu.native import PATH_VARIABLE
from sampler.machine import cpu_name, load_per_cpu, num_cores, thread_counts, usable_cpus
from sampler.measure import Measured, Plan, Slices, measure
from sampler.messages import Event, Failed, Tune, Tuned, Tuning
from sampler.profile import (
    BUSY_LOAD,
    Profile,
    Target,
    file_identity,
    profile_folder,
    profile_path,
    read_profile,
    write_profile,
)
from sampler.sample import sample_prompts
from sampler.threads import choose_threads, time_threads
from sampler.tune import choose

logger = logging.getLogger(__name__)

QUIET_S = 1.5
"""Measuring by itself waits until nobody has asked for anything for so long."""
LOOK_PAUSE_S = 10.0
"""Between two looks whether another engine still measures, or the machine is still busy."""
PATIENCE_S = 600.0
"""So long measuring unasked waits for a machine that is busy; then it is measured as it is, and
again as soon as it is quiet."""
EVENT_PAUSE_S = 0.1
"""Between two reports of how far the measurement is."""
SHAPE = NAMED["qwen2.5-coder-0.5b"]
"""Of the layers that numbers of threads are tried on; whose weights they are does not matter."""


def describe_target(
    path: Path,
    adapter: Path | None,
    *,
    device: torch.device,
    dtype: torch.dtype,
    kernels: str,
    threads: int | None,
) -> Target:
    """What an engine of these will run on.

    Args:
        path: file or folder of the weights.
        adapter: file of the adapter.
        device: where the network runs.
        dtype: of its weights, where PyTorch computes.
        kernels: as `sampler.load.choose_kernels` gives it.
        threads: as a person gave it.
    """
    is_cuda = device.type == "cuda"
    version = f"{torch.__version__} {dtype}".replace("torch.", "")
    if kernels == "torch":
        name = f"torch {version}"
    elif is_cuda:
        name = f"triton {version}"
    else:
        name = f"native {os.environ.get(PATH_VARIABLE) or library.paths()[0]} {library.ABI}"
    given = os.environ.get("OMP_NUM_THREADS", "")
    if threads is None and given.isdigit():
        threads = int(given)
    return Target(
        device=torch.cuda.get_device_name(device) if is_cuda else cpu_name(),
        num_cores=num_cores(),
        num_cpus=len(usable_cpus()),
        threads=threads,
        kernels=name,
        model=file_identity(path),
        adapter=file_identity(adapter),
    )


def prepare_threads(
    target: Target, device: torch.device, dtype: torch.dtype, folder: Path | None = None
) -> None:
    """Set the number of threads of a network that is to be loaded: the one that was fastest here.

    It is measured, in about a second, only where the cores do not say it themselves.
    """
    counts = thread_counts(target.num_cores, target.num_cpus)
    if target.threads is not None or len(counts) == 1 or device.type != "cpu":
        return
    profile = read_profile(target, folder)
    if profile is not None:
        torch.set_num_threads(profile.threads)
        return
    is_native = target.kernels.startswith("native")
    times_ms = time_threads(SHAPE, counts, is_native=is_native, dtype=dtype)
    torch.set_num_threads(choose_threads(times_ms))
    logger.info("milliseconds by the number of threads: %s", times_ms)


class Tuner:
    """Owns the profile of one engine.

    Whoever runs the engine calls `step` when the engine has no work and `pause_s` has passed.
    """

    def __init__(
        self,
        engine: Engine,
        target: Target,
        *,
        is_automatic: bool,
        folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        load: Callable[[], float] = load_per_cpu,
    ) -> None:
        """Use the profile of `target` if there is one and that is wanted.

        Args:
            engine: ready to serve.
            target: what it runs on.
            is_automatic: whether to use a profile unasked, and to measure if there is none.
            folder: of profiles.
            clock: seconds.
            load: share of the machine that is in use.
        """
        self._engine = engine
        self._target = target
        self._folder = folder or profile_folder()
        self._clock = clock
        self._load = load
        self._load_before = 0.0
        self._lock = FileLock(self._folder / "measuring.lock")
        self._slices: Slices | None = None
        self._share = 0.0
        self._told_at = 0.0
        self._askers: list[str] = []
        self._not_before = clock() + QUIET_S
        self._patient_until = clock() + PATIENCE_S
        self.profile = read_profile(target, self._folder) if is_automatic else None
        self._is_automatic = is_automatic
        self._is_wanted = self._could_be_better()
        if self.profile is not None:
            self._use(self.profile)

    def pause_s(self) -> float | None:
        """Seconds until `step` may be called, if nothing happens before; None for never."""
        if not self._is_wanted and not self._askers:
            return None
        return max(self._not_before - self._clock(), 0.0)

    def note_work(self) -> None:
        """The engine is in use: what is measured unasked waits until that pauses."""
        if not self._askers:
            self._not_before = self._clock() + QUIET_S

    def ask(self, request: Tune) -> list[Event]:
        """Measure now, or tell what is known."""
        if request.is_question:
            return [self._tuned(request.request_id)]
        self._askers.append(request.request_id)
        self._not_before = self._clock()
        return [Tuning(request.request_id, self._share if self._slices else 0.0)]

    def cancel(self, request_id: str) -> None:
        """The asker has lost interest. Unknown ids are ignored."""
        self._askers = [asker for asker in self._askers if asker != request_id]
        if not self._askers and not self._is_wanted:
            self._stop()

    def cancel_all(self, prefix: str) -> None:
        """The same for all whose id starts with `prefix`."""
        for asker in [asker for asker in self._askers if asker.startswith(prefix)]:
            self.cancel(asker)

    def step(self) -> list[Event]:
        """At most one forward; returns what the askers are to be told."""
        try:
            return self._step()
        except Exception as error:  # completions go on without a profile
            logger.exception("measuring failed")
            return self._fail(f"The measurement failed ({type(error).__name__}: {error}).")

    def _step(self) -> list[Event]:
        if self._slices is None and not self._begin():
            self._not_before = self._clock() + LOOK_PAUSE_S
            return [Tuning(asker, None) for asker in self._askers]
        if self._slices is None:  # another engine has done it
            return []
        try:
            self._share = max(self._share, next(self._slices))
        except StopIteration as done:
            return self._finish(done.value)
        if self._clock() - self._told_at < EVENT_PAUSE_S:
            return []
        self._told_at = self._clock()
        return [Tuning(asker, self._share) for asker in self._askers]

    def _begin(self) -> bool:
        """Whether it is time and our turn; a profile that another engine has kept ends the wish."""
        self._load_before = self._load()
        has_time = self.profile is not None or self._clock() < self._patient_until
        if not self._askers and has_time and self._load_before > BUSY_LOAD:
            return False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        except OSError as error:  # e.g. a folder that cannot be written to: nobody else can either
            logger.info("measuring without a lock: %s", error)
        kept = None if self._askers else read_profile(self._target, self._folder)
        if kept is not None and not kept.is_doubtful:
            self._use(kept)
            self._is_wanted = False
            self._lock.release()
            return True
        engine = self._engine
        has_drafts = engine.runner.model.adapter is not None
        plan = Plan(
            prompts=sample_prompts(engine.vocabulary, engine.tokenizer),
            end_ids=engine.vocabulary.end_ids | engine.vocabulary.special_ids,
            num_drafts=LONGEST_BRANCH if has_drafts else 0,
        )
        self._slices, self._share = measure(engine.runner, plan), 0.0
        return True

    def _finish(self, measured: Measured) -> list[Event]:
        profile = Profile(
            target=self._target,
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
            measured_s=round(measured.spent_s, 2),
            threads=torch.get_num_threads(),
            costs_ms=measured.costs_ms,
            prefill_ms=measured.prefill_ms,
            acceptance=measured.acceptance,
            num_judged=measured.num_judged,
            load=round(self._load_before, 2),
        )
        profile.check()
        write_profile(profile, self._folder)
        self._use(profile)
        events: list[Event] = [self._tuned(asker) for asker in self._askers]
        self._askers, self._is_wanted = [], self._could_be_better()
        self._not_before = self._clock() + LOOK_PAUSE_S
        self._stop()
        return events

    def _could_be_better(self) -> bool:
        return self._is_automatic and (self.profile is None or self.profile.is_doubtful)

    def _use(self, profile: Profile) -> None:
        self.profile = profile
        choice = choose(profile, self._engine.settings.max_rows)
        self._engine.adopt(
            replace(
                self._engine.settings,
                costs_ms=profile.costs_ms,
                acceptance=profile.acceptance,
                prefill_chunk=choice.prefill_chunk,
            )
        )
        logger.info("tuned: %s", choice)

    def _tuned(self, request_id: str) -> Tuned:
        if self.profile is None:
            return Tuned(request_id)
        path = profile_path(self._target, self._folder)
        return Tuned(
            request_id,
            self.profile,
            choose(self.profile, self._engine.settings.max_rows),
            str(path) if path.is_file() else None,
        )

    def _fail(self, message: str) -> list[Event]:
        events: list[Event] = [Failed(message, asker) for asker in self._askers]
        self._askers, self._is_wanted = [], False
        self._stop()
        return events

    def _stop(self) -> None:
        self._slices, self._share = None, 0.0
        self._lock.release(force=True)
