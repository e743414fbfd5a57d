"""Counts what completions are worth: glue between what the server sees and the counters.

Keeps accepted texts in memory for half a minute, to see how much of them stays. Knows neither LSP
nor how a completion comes about.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from lsp_server.acceptance import Acceptance, Accepted, Dismissed, Outcome, Shown, num_kept
from lsp_server.counters import CounterFile, Counts
from lsp_server.session import Offer

logger = logging.getLogger(__name__)

KEPT_AFTER_S = 30.0
SAVE_EVERY_S = 30.0

TextOf = Callable[[str], str | None]
"""The present text of an open document by its uri."""


class Usage:
    """The counts of this server since they were last saved. Without a file nothing is counted."""

    def __init__(self, file: CounterFile | None, text_of: TextOf):
        self._file = file
        self._text_of = text_of
        self._acceptance = Acceptance()
        self._counts = Counts()
        self._timers: set[asyncio.TimerHandle] = set()
        self._saving: asyncio.Task[None] | None = None

    def use(self, file: CounterFile | None) -> None:
        """Count into another file from now on, or not at all."""
        self._file = file
        if file is None:
            self._counts = Counts()

    def answer(self, offer: Offer | None, quiet: str, elapsed_ms: float | None) -> None:
        """A request was answered with an offer, or with nothing for the reason `quiet`.

        Without `elapsed_ms` it is no answer to measure.
        """
        self._counts.requests += 1
        if offer is None:
            self._counts.add_quiet(quiet)
        else:
            if elapsed_ms is not None:
                self._counts.add_latency(offer.tier, elapsed_ms)
            self.show(offer)
        self._save_later()

    def show(self, offer: Offer) -> None:
        """The editor was sent an offer."""
        self._count(offer.snapshot.uri, self._acceptance.show(offer))

    def change(self, uri: str, text: str) -> None:
        """A document is `text` now; to be told before anything new is offered for it."""
        self._count(uri, self._acceptance.change(uri, text))

    def accept(self, uri: str, session: str) -> None:
        """The editor says that it has accepted a prediction; an unknown one is ignored."""
        self._count(uri, self._acceptance.accept(uri, session))

    def leave(self, uri: str) -> None:
        """A document shows nothing any more: it was closed, or the person dismissed it."""
        self._count(uri, self._acceptance.leave(uri))

    async def total(self) -> Counts:
        """All counts of this user, those of this server that are not saved yet included."""
        counts = Counts() if self._file is None else await asyncio.to_thread(self._file.read)
        counts.add(self._counts)
        return counts

    async def close(self) -> None:
        """Save what has been counted; what was accepted just now is not looked for again."""
        for timer in self._timers:
            timer.cancel()
        if self._saving is not None:
            self._saving.cancel()
        await self._save()

    def _count(self, uri: str, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            match outcome:
                case Shown():
                    self._counts.shown += 1
                case Dismissed():
                    self._counts.dismissed += 1
                case Accepted(text=text, is_first=is_first):
                    self._counts.accepted += is_first
                    self._counts.characters_accepted += len(text)
                    self._check_later(uri, outcome)
        if outcomes:
            self._save_later()

    def _check_later(self, uri: str, accepted: Accepted) -> None:
        def check() -> None:
            self._timers.discard(timer)
            text = self._text_of(uri)
            if text is not None:  # else it was closed: nobody knows what became of it
                self._counts.characters_checked += len(accepted.text)
                self._counts.characters_kept += num_kept(accepted, text)
                self._save_later()

        timer = asyncio.get_running_loop().call_later(KEPT_AFTER_S, check)
        self._timers.add(timer)

    def _save_later(self) -> None:
        if self._saving is None and self._file is not None:
            self._saving = asyncio.create_task(self._save_after_a_while())

    async def _save_after_a_while(self) -> None:
        await asyncio.sleep(SAVE_EVERY_S)
        self._saving = None
        await self._save()

    async def _save(self) -> None:
        counts, self._counts = self._counts, Counts()
        if self._file is None or counts.is_empty:
            return
        if not await asyncio.to_thread(self._file.add, counts):
            logger.warning("the counts of %d requests could not be saved", counts.requests)
