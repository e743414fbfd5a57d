"""The engine: requests in, committed blocks out, one forward at a time.

Synchronous and single-threaded: whoever calls `step` owns the device. Knows neither sockets nor
LSP. The order of work for a request is `_generate`, told as a generator that is suspended between
any two forwards; cancelling a request drops the generator there. The reference for what it
generates is `sampler.denoise`.
"""

import logging
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from model.format.healing import Continuations
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import Vocabulary
from sampler.canvas import Canvas, reveal
from sampler.context import Context, ContextLimits, build_context
from sampler.judgment import Judgment
from sampler.kv_cache import CachedSequence, PrefixCache
from sampler.lookup import lookup_draft
from sampler.messages import BlockCommitted, Complete, Event, Failed, Finished, Mode, Stats, Stop
from sampler.output import Output
from sampler.policy import UnmaskPolicy, num_accepted, num_matching
from sampler.runner import Runner

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineSettings:
    """How the engine works here. But for rounding, nothing in it changes `ar` and `exact`."""

    block_size: int = 16
    """Slots of a canvas, the settled first one included."""
    max_steps: int = 4
    """Denoising steps per block; the last one reveals whatever is still masked."""
    exact_steps: int = 1
    """The same in mode `exact`, whose text does not depend on it: a second step costs as much as
    the verifying forward that settles what the first got right."""
    has_lookup: bool = True
    """Whether drafts are copied from the context where it has the like."""
    policy: UnmaskPolicy = field(default_factory=UnmaskPolicy)
    delta: float = 0.5
    """Mode `balanced` accepts a draft whose AR probability is at least this share of the best."""
    prefill_chunk: int = 128
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
    accepted: list[int] = field(default_factory=list)
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
            accepted=tuple(self.accepted),
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
        self._continuations = Continuations(vocabulary, tokenizer)
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
        output.required = context.required
        sequence, num_cached = self.cache.acquire(context.tokens)
        fresh = yield from self._prefill(task, sequence, context, num_cached)
        length = len(context.tokens) - context.num_healed + len(fresh) - 1
        is_healing = len(fresh) <= context.num_healed
        while True:
            # Slot 0 of the next canvas is the AR token: settled, so shown before its own forward.
            events = task.emit(output.push(fresh))
            if output.stop is None:
                # A token that heals is not drafted behind, whether or not prefill has guessed it.
                is_single = is_healing or request.mode == "ar"
                num_slots = self._num_slots(
                    1 if is_single else self.settings.block_size, task, length
                )
                stop: Stop | None = "limit" if num_slots == 0 else None
                stop = "budget" if task.is_over_budget() else stop
                if stop is not None:
                    events += task.emit(output.finish(stop))
            yield events

            replayed = self._replay(request.mode, sequence, length, fresh[-1], output)
            if replayed:
                length += len(replayed)
                fresh = replayed
                is_healing = False
                continue
            sequence.truncate(length)
            canvas, has_seeds = self._new_canvas(request.mode, sequence, fresh[-1], num_slots)
            is_exact = request.mode == "exact"
            num_steps = self.settings.exact_steps if is_exact else self.settings.max_steps
            for step in range(num_steps):
                if not canvas.has_masked:
                    break
                policy = self.settings.policy
                judgment = self.runner.denoise(sequence, canvas, needs_logits=policy.needs_logits)
                task.forwards += 1
                task.denoising_steps += 1
                is_last = step == num_steps - 1
                reveal(canvas, judgment, policy, is_last=is_last)
                yield []
            # Nobody has scored a seed: only the denoiser's own drafts may go unverified.
            mode = "exact" if has_seeds else request.mode
            drafts, following = self._commit(task, sequence, canvas, mode)
            length += 1 + len(drafts)
            fresh = [*drafts, following]
            is_healing = output.required_left != b""

    def _prefill(
        self,
        task: _Task,
        sequence: CachedSequence,
        context: Context,
        num_cached: int,
    ) -> Generator[list[Event], None, list[int]]:
        """Write K/V of the uncached tail of the context, chunk by chunk.

        The last `num_healed` tokens of the context are only a draft of the output's first ones: the
        forward that writes them judges them too, and mostly they are what the model prefers.

        Returns the first tokens of the output, of which all but the last are in the cache.
        """
        required, num_healed = context.required, context.num_healed
        num_settled = len(context.tokens) - num_healed
        first = sequence.recall(num_settled, required) if num_cached >= num_settled else None
        if first is None:
            num_cached = min(num_cached, num_settled - 1)
            sequence.truncate(num_cached)
            judgment = yield from self._prefill_tail(task, sequence, context.tokens, num_healed + 1)
            first, left = [], required.encode()
            for index, draft in enumerate(context.tokens[num_settled:]):
                first.append(self._choose(judgment.logits[index], left))
                if first[-1] != draft:
                    break
                left = left[len(self._continuations.spelling(draft)) :]
            else:
                first.append(int(judgment.tokens_L[-1]))
            sequence.truncate(num_settled + len(first) - 1)
            sequence.first = (num_settled, required, first)
        task.cached_tokens = num_cached
        return first

    def _prefill_tail(
        self, task: _Task, sequence: CachedSequence, context: list[int], num_judged: int
    ) -> Generator[list[Event], None, Judgment]:
        begin, chunk = len(sequence.tokens), self.settings.prefill_chunk
        while True:
            if task.is_over_budget():
                yield task.emit(task.output.finish("budget"))
            # The rows that are judged stay in one chunk.
            is_last = len(context) - begin <= chunk + num_judged
            tokens = context[begin:] if is_last else context[begin : begin + chunk]
            started = time.perf_counter()
            judgment = self.runner.prefill(
                sequence, tokens, num_judged if is_last else 0, needs_logits=num_judged > 1
            )
            task.prefill_ms += (time.perf_counter() - started) * 1000
            task.prefill_tokens += len(tokens)
            begin += len(tokens)
            if is_last:
                return judgment
            yield []

    def _choose(self, logits_V: Tensor, required: bytes) -> int:
        """The most likely token among those that spell `required` or begin to."""
        ids = torch.from_numpy(self._continuations.of(required)).to(logits_V.device)
        return int(ids[logits_V[ids].argmax()])

    def _context(self, request: Complete) -> Context:
        """The prompt of a request, with room behind it for a full completion."""
        settings = self.settings
        room = settings.num_positions - request.max_new_tokens - settings.block_size
        if room < 8:
            raise ValueError(
                f"max_new_tokens is {request.max_new_tokens}, too many for a context window of "
                f"{settings.num_positions} tokens."
            )
        limits = ContextLimits(room, settings.max_prefix_chars, settings.max_suffix_chars)
        return build_context(request, self._vocabulary, self._tokenizer, limits)

    def _num_slots(self, block_size: int, task: _Task, length: int) -> int:
        """Slots of the next canvas at position `length`; 0 if the sequence is full."""
        return min(self.settings.num_positions - length, task.output.num_left + 1, block_size)

    def _replay(
        self, mode: Mode, sequence: CachedSequence, length: int, settled: int, output: Output
    ) -> list[int]:
        """What an earlier request generated behind the token `settled` and the cache still holds.

        Only where the mode's text is the greedy AR text, so that a warm cache never changes a
        result.
        """
        replayed: list[int] = []
        if mode not in ("ar", "exact") or output.required_left:
            return replayed
        while length < len(sequence.tokens) and sequence.tokens[length] == settled:
            following = sequence.next_token(length + 1)
            if following is None:
                break
            replayed.append(following)
            settled = following
            length += 1
        return replayed

    def _new_canvas(
        self, mode: Mode, sequence: CachedSequence, first: int, num_slots: int
    ) -> tuple[Canvas, bool]:
        """The next canvas: seeded from the context where that has the like, else to be denoised.

        Seeds cost no forward, and even those behind a tail of two tokens give more text a forward
        than a denoised block (docs/log.md). Modes that
        accept more than the base's own choice have none, for nobody has scored a seed.
        """
        start, device = len(sequence.tokens), self.runner.device
        has_adapter = mode != "ar" and self.runner.model.adapter is not None
        seeds: list[int] = []
        if num_slots > 1 and self.settings.has_lookup and (mode == "exact" or not has_adapter):
            known = np.asarray([*sequence.tokens, first], dtype=np.int64)
            seeds = lookup_draft(known, num_slots - 1)
        if has_adapter and not seeds:
            mask_id = self.runner.model.config.mask_id
            return Canvas.masked(start, first, num_slots, mask_id, device), False
        return Canvas.seeded(start, [first, *seeds], device), True

    def _commit(
        self, task: _Task, sequence: CachedSequence, canvas: Canvas, mode: Mode
    ) -> tuple[list[int], int]:
        """Verify and commit a block: the accepted drafts and the AR token that follows them."""
        is_healing = task.output.required_left != b""
        is_balanced = mode == "balanced"
        judgment = self.runner.commit(sequence, canvas, needs_logits=is_healing or is_balanced)
        task.forwards += 1
        drafts_L = canvas.tokens_L[1:]
        if is_balanced:
            drafts = num_accepted(mode, drafts_L, judgment.logits[:-1], self.settings.delta)
        elif mode == "fast":
            drafts = len(drafts_L)
        else:
            drafts = num_matching(drafts_L, judgment.tokens_L[:-1])
        following = judgment.tokens_L[: drafts + 1].tolist()
        tokens = canvas.tokens_L[: drafts + 1].tolist()
        sequence.extend(tokens, following)
        if canvas.num_slots > 1:
            task.accepted.append(drafts)
        if is_healing:
            return tokens[1:], self._choose(judgment.logits[drafts], task.output.required_left)
        return tokens[1:], following[-1]


def _sentence(error: Exception) -> str:
    """One sentence for a person: user errors verbatim, anything else by its type."""
    if isinstance(error, ValueError):
        return str(error)
    return f"The engine could not complete this request ({type(error).__name__}: {error})."
