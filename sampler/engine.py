"""The engine: requests in, committed blocks out, one forward at a time.

Synchronous and single-threaded: whoever calls `step` owns the device. Knows neither sockets nor
LSP. The order of work for a request is `_generate`, told as a generator that is suspended between
any two forwards; cancelling a request drops the generator there. The reference for what it
generates is `sampler.denoise`.
"""

import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from model.format.prompt import render, window
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import Vocabulary
from sampler.canvas import Canvas, reveal
from sampler.kv_cache import CachedSequence, PrefixCache
from sampler.lookup import lookup_draft
from sampler.messages import BlockCommitted, Complete, Event, Failed, Finished, Mode, Stats, Stop
from sampler.output import Output
from sampler.policy import UnmaskPolicy, num_accepted
from sampler.runner import Runner

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineSettings:
    """How the engine works here. But for rounding, nothing in it changes `ar` and `exact`."""

    block_size: int = 16
    """Slots of a canvas, the settled first one included."""
    max_steps: int = 4
    """Denoising steps per block; the last one reveals whatever is still masked."""
    policy: UnmaskPolicy = field(default_factory=UnmaskPolicy)
    delta: float = 0.5
    """Mode `balanced` accepts a draft whose AR probability is at least this share of the best."""
    prefill_chunk: int = 256
    """Context tokens per forward: the longest time that a cancellation waits."""
    num_sequences: int = 4
    num_positions: int = 4096
    max_prefix_chars: int = 8000
    max_suffix_chars: int = 4000


@dataclass
class _Task:
    request: Complete
    arrived: float
    output: Output
    work: Iterator[list[Event]] | None = None
    forwards: int = 0
    denoising_steps: int = 0
    accepted_drafts: int = 0
    prefill_tokens: int = 0
    cached_tokens: int = 0
    prefill_ms: float = 0.0
    first_block_ms: float | None = None

    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self.arrived) * 1000

    def is_over_budget(self) -> bool:
        return self.request.budget_ms is not None and self.elapsed_ms() >= self.request.budget_ms

    def emit(self, text: str) -> list[Event]:
        if not text:
            return []
        if self.first_block_ms is None:
            self.first_block_ms = self.elapsed_ms()
        return [BlockCommitted(self.request.request_id, text)]

    def finish(self) -> Finished:
        assert self.output.stop is not None
        stats = Stats(
            tokens=self.output.num_tokens,
            forwards=self.forwards,
            denoising_steps=self.denoising_steps,
            accepted_drafts=self.accepted_drafts,
            prefill_tokens=self.prefill_tokens,
            cached_tokens=self.cached_tokens,
            first_block_ms=self.first_block_ms,
            prefill_ms=self.prefill_ms,
            total_ms=self.elapsed_ms(),
        )
        return Finished(self.request.request_id, self.output.shown, self.output.stop, stats)


class Engine:
    """Serves requests in order of arrival; a newer one for a document replaces the older."""

    def __init__(
        self,
        runner: Runner,
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        settings: EngineSettings | None = None,
    ) -> None:
        self.settings = settings or EngineSettings()
        self.runner = runner
        self.cache = PrefixCache(
            lambda: runner.allocate(self.settings.num_positions),
            num_sequences=self.settings.num_sequences,
            num_positions=self.settings.num_positions,
        )
        self._vocabulary = vocabulary
        self._tokenizer = tokenizer
        self._tasks: deque[_Task] = deque()

    @property
    def has_work(self) -> bool:
        """Whether `step` would do anything."""
        return bool(self._tasks)

    def submit(self, request: Complete) -> list[Event]:
        """Queue a request. Returns `Failed` for each older request that it supersedes."""
        superseded = [task for task in self._tasks if task.request.document == request.document]
        for task in superseded:
            self._tasks.remove(task)
        self._tasks.append(
            _Task(
                request,
                arrived=time.perf_counter(),
                output=Output(
                    self._tokenizer,
                    self._vocabulary.end_ids | self._vocabulary.special_ids,
                    request.plan,
                    request.max_new_tokens,
                ),
            )
        )
        return [
            Failed("superseded by a newer request", task.request.request_id) for task in superseded
        ]

    def cancel(self, request_id: str) -> None:
        """Drop a request: no further forward starts for it. Unknown ids are ignored."""
        for task in self._tasks:
            if task.request.request_id == request_id:
                self._tasks.remove(task)
                return

    def cancel_all(self, prefix: str) -> None:
        """Drop all requests whose id starts with `prefix`."""
        self._tasks = deque(
            task for task in self._tasks if not task.request.request_id.startswith(prefix)
        )

    def step(self) -> list[Event]:
        """At most one forward for the oldest request; returns what came out of it."""
        if not self._tasks:
            return []
        task = self._tasks[0]
        if task.work is None:
            task.work = self._generate(task)
        try:
            events = next(task.work)
        except Exception as error:  # the engine outlives a request whatever happens in it
            logger.exception("request failed")
            self._tasks.remove(task)
            return [Failed(_sentence(error), task.request.request_id)]
        if task.output.stop is not None:
            self._tasks.remove(task)
            events = [*events, task.finish()]
        return events

    def _generate(self, task: _Task) -> Iterator[list[Event]]:
        """All work for one request; yields after each forward, at last with `output.stop` set."""
        request, output = task.request, task.output
        context = self._context(request)
        sequence, num_cached = self.cache.acquire(context)
        yield from self._prefill(task, sequence, context, num_cached)
        length = len(context)
        if task.is_over_budget():
            yield task.emit(output.finish("budget"))

        fresh = [_known(sequence.next_token(length))]
        while True:
            # Slot 0 of the next canvas is the AR token: settled, so shown before its own forward.
            events = task.emit(output.push(fresh))
            if output.stop is None:
                num_slots = self._num_slots(request.mode, output, length)
                stop: Stop | None = "limit" if num_slots == 0 else None
                stop = "budget" if task.is_over_budget() else stop
                if stop is not None:
                    events += task.emit(output.finish(stop))
            yield events

            replayed = self._replay(request.mode, sequence, length)
            if replayed:
                length += len(replayed)
                fresh = replayed
                continue
            sequence.truncate(length)
            canvas, has_seeds = self._new_canvas(request.mode, sequence, fresh[-1], num_slots)
            for step in range(self.settings.max_steps):
                if not canvas.has_masked:
                    break
                logits_LV = self.runner.denoise(sequence, canvas)
                task.forwards += 1
                task.denoising_steps += 1
                is_last = step == self.settings.max_steps - 1
                reveal(canvas, logits_LV, self.settings.policy, is_last=is_last)
                yield []
            # Nobody has scored a seed: only the denoiser's own drafts may go unverified.
            mode = "exact" if has_seeds else request.mode
            drafts, following = self._commit(task, sequence, canvas, mode)
            length += 1 + len(drafts)
            fresh = [*drafts, following]

    def _prefill(
        self, task: _Task, sequence: CachedSequence, context: list[int], num_cached: int
    ) -> Iterator[list[Event]]:
        """Write K/V of the uncached tail of the context, chunk by chunk, and learn its AR token."""
        if num_cached < len(context) or sequence.next_token(num_cached) is None:
            num_cached = min(num_cached, len(context) - 1)
            sequence.truncate(num_cached)
        task.cached_tokens = num_cached
        chunk = self.settings.prefill_chunk
        for begin in range(num_cached, len(context), chunk):
            if task.is_over_budget():
                yield task.emit(task.output.finish("budget"))
            tokens = context[begin : begin + chunk]
            started = time.perf_counter()
            self.runner.prefill(sequence, tokens, is_last=begin + chunk >= len(context))
            task.prefill_ms += (time.perf_counter() - started) * 1000
            task.prefill_tokens += len(tokens)
            yield []

    def _context(self, request: Complete) -> list[int]:
        """Prompt tokens, cut so that a full completion still fits behind them.

        Characters are cut first, at stable places (`window`); dense text that still has too many
        tokens is cut again by half.
        """
        settings = self.settings
        room = settings.num_positions - request.max_new_tokens - settings.block_size
        if room < 1:
            raise ValueError(
                f"max_new_tokens is {request.max_new_tokens}, too many for a context window of "
                f"{settings.num_positions} tokens."
            )
        max_prefix, max_suffix = settings.max_prefix_chars, settings.max_suffix_chars
        while True:
            cut = window(
                request.prefix,
                request.suffix,
                max_prefix_chars=max_prefix,
                max_suffix_chars=max_suffix,
            )
            prefix_ids = self._tokenizer.encode(cut.prefix)
            if self._vocabulary.fim is None:
                context = prefix_ids
            else:
                suffix_ids = self._tokenizer.encode(cut.suffix)
                context = render(request.layout, self._vocabulary.fim, prefix_ids, suffix_ids)
            if not context:
                raise ValueError("This model knows no fill-in-the-middle and the prefix is empty.")
            if len(context) <= room:
                return context
            max_prefix, max_suffix = max_prefix // 2, max_suffix // 2

    def _num_slots(self, mode: Mode, output: Output, length: int) -> int:
        """Slots of the next canvas at position `length`; 0 if the sequence is full."""
        room = min(self.settings.num_positions - length, output.num_left + 1)
        return min(room, 1 if mode == "ar" else self.settings.block_size)

    def _replay(self, mode: Mode, sequence: CachedSequence, length: int) -> list[int]:
        """What an earlier request generated from here and the cache still holds.

        Only where the mode's text is the greedy AR text, so that a warm cache never changes a
        result. Each returned token is the AR token after its predecessor, the first follows the
        token that was just settled.
        """
        replayed: list[int] = []
        if mode not in ("ar", "exact"):
            return replayed
        while length < len(sequence.tokens):
            following = sequence.next_token(length + 1)
            if sequence.tokens[length] != sequence.next_token(length) or following is None:
                break
            replayed.append(following)
            length += 1
        return replayed

    def _new_canvas(
        self, mode: Mode, sequence: CachedSequence, first: int, num_slots: int
    ) -> tuple[Canvas, bool]:
        """A canvas to denoise, or one seeded from the context where no adapter can denoise it."""
        start, device = len(sequence.tokens), self.runner.device
        if mode != "ar" and self.runner.model.adapter is not None:
            mask_id = self.runner.model.config.mask_id
            return Canvas.masked(start, first, num_slots, mask_id, device), False
        tokens = [first]
        if num_slots > 1:
            known = np.asarray([*sequence.tokens, first], dtype=np.int64)
            tokens += lookup_draft(known, num_slots - 1)
        return Canvas.seeded(start, tokens, device), True

    def _commit(
        self, task: _Task, sequence: CachedSequence, canvas: Canvas, mode: Mode
    ) -> tuple[list[int], int]:
        """Verify and commit a block: the accepted drafts and the AR token that follows them."""
        logits_LV = self.runner.commit(sequence, canvas)
        task.forwards += 1
        drafts = num_accepted(mode, canvas.tokens_L[1:], logits_LV[:-1], self.settings.delta)
        following = logits_LV[: drafts + 1].argmax(dim=-1).tolist()
        tokens = canvas.tokens_L[: drafts + 1].tolist()
        sequence.extend(tokens, following)
        task.accepted_drafts += drafts
        return tokens[1:], following[-1]


def _known(token: int | None) -> int:
    assert token is not None, "prefill computes the token after the context"
    return token


def _sentence(error: Exception) -> str:
    """One sentence for a person: user errors verbatim, anything else by its type."""
    if isinstance(error, ValueError):
        return str(error)
    return f"The engine could not complete this request ({type(error).__name__}: {error})."
