"""A request and how far it has come. Knows neither model nor cache."""

import time
from dataclasses import dataclass, field

from sampler.forward import Forward, Turn, Work
from sampler.judgment import Predicted
from sampler.messages import BlockCommitted, Complete, Event, Finished, Stats
from sampler.old_code import OldCode
from sampler.output import Output


@dataclass
class Task:
    """A request and how far it has come."""

    request: Complete
    arrived: float
    output: Output
    work: Work[None] | None = None
    pending: Forward | None = None
    """What the work waits for."""
    turn: Turn = field(default_factory=Turn)
    """What it may take of the next forward."""
    forwards: int = 0
    denoising_steps: int = 0
    accepted: list[int] = field(default_factory=list)
    prefill_tokens: int = 0
    cached_tokens: int = 0
    prefill_ms: float = 0.0
    first_block_ms: float | None = None
    old_code: OldCode | None = None
    """Of an edit: where drafts are copied from."""
    confidence: float = 1.0
    """Lowest probability of a token of the first line so far."""
    excerpt_tokens: tuple[int, ...] = ()

    def close(self) -> None:
        """No further work is done, and what it holds is given back."""
        if self.work is not None:
            self.work.close()

    def elapsed_ms(self) -> float:
        """Since the request arrived."""
        return (time.perf_counter() - self.arrived) * 1000

    def is_over_budget(self) -> bool:
        """Whether the request's time is spent."""
        return self.request.budget_ms is not None and self.elapsed_ms() >= self.request.budget_ms

    def push(self, fresh: Predicted) -> list[Event]:
        """Tokens are final."""
        num_before = self.output.num_tokens
        has_line = "\n" in self.output.shown.lstrip()
        text = self.output.push(fresh.tokens, fresh.probabilities)
        if self.old_code is not None:
            self.old_code.follow(fresh.tokens)
        if not has_line:
            # None where tokens were taken back.
            used = fresh.probabilities[: max(self.output.num_tokens - num_before, 0)]
            self.confidence = min([self.confidence, *used])
        return self.emit(text)

    def begin_retry(self) -> int:
        """Tokens were taken back; returns the one that is forbidden in the place of the first."""
        retry = self.output.begin_retry()
        if self.old_code is not None:
            self.old_code = self.old_code.anew()
            self.old_code.follow(self.output.tokens)
        return retry.forbidden

    def emit(self, text: str) -> list[Event]:
        """Text is final."""
        if not text:
            return []
        if self.first_block_ms is None:
            self.first_block_ms = self.elapsed_ms()
        return [BlockCommitted(self.request.request_id, text, self.confidence)]

    def finish(self) -> Finished:
        """The last event, once the output has stopped."""
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
            excerpt_tokens=self.excerpt_tokens,
        )
        return Finished(self.request.request_id, self.output.shown, self.output.stop, stats)
