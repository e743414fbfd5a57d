"""Carries out what sessions decide: tasks for the engine, timers for deadlines, reply futures.

One `Session` per document decides what is shown, `gate` whether anything is, `rhythm` how long to
wait. Knows neither LSP nor sockets.
"""

import asyncio
import itertools
import logging
import time
import traceback
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Protocol

from lsp_server.chaining import lead_in
from lsp_server.context import build_request
from lsp_server.documents import Document
from lsp_server.gate import Reason, bar, quiet_reason
from lsp_server.prediction import Offer, Tier
from lsp_server.rhythm import PAUSE_S, Rhythm
from lsp_server.session import Action, Ahead, Reply, Session, Start, Stop, Update
from lsp_server.settings import Settings
from lsp_server.snapshot import Snapshot
from sampler.messages import BlockCommitted, Complete, Failed, Finished

logger = logging.getLogger(__name__)

TEMPERATURE = 0.7
"""Of the texts beside the most likely one."""
READ_AFTER_S = PAUSE_S + 0.5
"""Behind the latest request; a little later than what is a pause for the `informant`, which counts
from the moment when it was asked."""


class Engine(Protocol):
    """What completions need of an `EngineClient`."""

    def complete(
        self, request: Complete
    ) -> AsyncGenerator[BlockCommitted | Finished | Failed, None]:
        """The request's events; closing the iterator cancels the request."""


class Completions:
    """The sessions of all open documents."""

    def __init__(self, engine: Engine, settings: Settings, on_update: Callable[[Offer], None]):
        self.is_followed = False
        """Whether the client follows updates. One that does not would be left with half a word if
        it were answered at the first paint deadline, so it gets a complete line or the end."""
        self.settings = settings
        """What holds now; the server replaces it when a setting changes."""
        self.snoozed_until: float | None = None
        """On `time.monotonic`; until then nothing is offered unless a person asks."""
        self.tally: Counter[Tier | Reason] = Counter()
        """How often each tier answered, and each reason was why nothing did."""
        self._engine = engine
        self._on_update = on_update
        self._sessions: dict[str, Session] = {}
        self._rhythms: dict[str, Rhythm] = {}
        self._quiet: dict[str, Reason] = {}
        self._replies: dict[str, asyncio.Future[Offer | None]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pauses: dict[str, asyncio.TimerHandle] = {}
        self._ids = (str(number) for number in itertools.count(1))

    async def request(self, snapshot: Snapshot, *, is_invoked: bool = False) -> Offer | None:
        """The offer for a first paint; cancelling the caller cancels the engine's work.

        None if there is nothing to show, see `quiet_reason`, or a newer request superseded this.

        Args:
            snapshot: the document and the cursor.
            is_invoked: a person has asked, not the editor by itself.
        """
        session = self._sessions.setdefault(snapshot.uri, Session())
        self._await_pause(snapshot)
        reason = self._reason_before(session, snapshot, is_invoked=is_invoked)
        offer = None
        if reason is None:
            offer = await self._ask(session, snapshot, is_invoked=is_invoked)
            reason = "unsure" if session.is_unsure else "nothing"
        if offer is not None:
            self._quiet.pop(snapshot.uri, None)
        else:
            self._quiet[snapshot.uri] = reason
        self.tally[offer.tier if offer else reason] += 1
        return offer

    def rest(self, snapshot: Snapshot, *, is_pause: bool = False) -> None:
        """The cursor has come to rest somewhere: read there ahead of the first key.

        Args:
            snapshot: the document and the cursor.
            is_pause: nothing has happened there for a while, so that excerpts are chosen anew.
        """
        session = self._sessions.setdefault(snapshot.uri, Session())
        if not self.settings.ahead or self._reason_before(session, snapshot, is_invoked=False):
            return
        actions = session.rest(next(self._ids), snapshot, is_pause=is_pause)
        if actions:  # where a completion was just asked for, the pause behind it still counts
            self._forget_pause(snapshot.uri)
        self._carry_out(session, actions)

    def quiet_reason(self, uri: str) -> Reason | None:
        """Why the last request for a document was answered with nothing; None if it was not."""
        return self._quiet.get(uri)

    def last_suggestion(self, uri: str) -> Offer | None:
        """What was shown last in a document, wherever its cursor is now."""
        session = self._sessions.get(uri)
        return session.last if session else None

    def snooze(self, until: float | None) -> None:
        """Offer nothing by itself until that time of `time.monotonic`; None ends it."""
        self.snoozed_until = until

    def dismiss(self, uri: str) -> None:
        """The user has rejected what is shown: it does not come back by itself to that place."""
        if session := self._sessions.get(uri):
            self._carry_out(session, session.dismiss())

    def change(self, document: Document) -> None:
        """The document has changed."""
        self._forget_pause(document.uri)
        self._rhythms.setdefault(document.uri, Rhythm()).note_change(time.monotonic())
        if session := self._sessions.get(document.uri):
            self._carry_out(session, session.change(document.text, document.version))

    def close(self, uri: str) -> None:
        """The document is gone."""
        self._forget_pause(uri)
        self._rhythms.pop(uri, None)
        self._quiet.pop(uri, None)
        if session := self._sessions.pop(uri, None):
            self._carry_out(session, session.close())

    def _await_pause(self, snapshot: Snapshot) -> None:
        self._forget_pause(snapshot.uri)
        if self.settings.ahead:
            pause = partial(self.rest, snapshot, is_pause=True)
            self._pauses[snapshot.uri] = asyncio.get_running_loop().call_later(READ_AFTER_S, pause)

    def _forget_pause(self, uri: str) -> None:
        if timer := self._pauses.pop(uri, None):
            timer.cancel()

    def _reason_before(
        self, session: Session, snapshot: Snapshot, *, is_invoked: bool
    ) -> Reason | None:
        """Why the engine is not asked. What a person called up stays while it is being typed."""
        until = self.snoozed_until
        reason = quiet_reason(
            snapshot,
            self.settings,
            is_invoked=is_invoked,
            is_snoozed=until is not None and time.monotonic() < until,
        )
        return None if reason == "manual" and session.is_showing(snapshot) else reason

    async def _ask(self, session: Session, snapshot: Snapshot, *, is_invoked: bool) -> Offer | None:
        settings = self.settings
        session.ahead = Ahead(
            lead_in if settings.ahead else None,
            max(settings.num_candidates - 1, 0),
            reads_on=settings.ahead,
        )
        reply_id = next(self._ids)
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Offer | None] = loop.create_future()
        self._replies[reply_id] = reply
        deadline = None
        if self.is_followed:
            deadline = loop.call_later(
                settings.first_paint_ms / 1000,
                lambda: self._carry_out(session, session.pass_deadline(reply_id)),
            )
        try:
            actions = session.request(
                reply_id,
                snapshot,
                bar(settings, is_invoked=is_invoked),
                is_invoked=is_invoked,
            )
            wait_s = 0.0 if is_invoked else self._wait_s(snapshot.uri)
            self._carry_out(session, actions, wait_s)
            return await reply
        finally:
            if deadline is not None:
                deadline.cancel()
            del self._replies[reply_id]
            self._carry_out(session, session.cancel(reply_id))  # does nothing once answered

    def _wait_s(self, uri: str) -> float:
        return self._rhythms.setdefault(uri, Rhythm()).wait_s(
            time.monotonic(),
            answer_s=self.settings.first_paint_ms / 1000,
            longest_s=self.settings.debounce_ms / 1000,
        )

    def _carry_out(self, session: Session, actions: Sequence[Action], wait_s: float = 0.0) -> None:
        """Do what a session has decided; requests to the engine begin after `wait_s` seconds."""
        for action in actions:
            match action:
                case Start(request_id):
                    task = asyncio.create_task(self._run(session, action, wait_s))
                    self._tasks[request_id] = task
                    task.add_done_callback(partial(self._forget, request_id))
                case Stop(request_id):
                    self._tasks[request_id].cancel()
                case Reply(reply_id, offer):
                    if not self._replies[reply_id].done():  # cancelled, but not yet awake
                        self._replies[reply_id].set_result(offer)
                case Update(offer):
                    self._on_update(offer)

    async def _run(self, session: Session, start: Start, wait_s: float) -> None:
        """Feed an engine request's events to the session."""
        request_id = start.request_id
        try:
            await asyncio.sleep(wait_s)  # superseded until then, it costs nothing
            request = replace(
                build_request(start.snapshot, self.settings, request_id),
                is_ahead=start.is_ahead,
                temperature=TEMPERATURE if start.variant else 0.0,
                seed=start.variant,
                first_rank=start.variant,
            )
            if start.is_read:
                request = replace(request, max_new_tokens=0, budget_ms=None)
            session.begin(request_id)
            async with aclosing(self._engine.complete(request)) as events:
                async for event in events:
                    if isinstance(event, Failed):
                        logger.info("request %s failed: %s", request_id, event.message)
                    self._carry_out(session, session.receive(event))
        except Exception as error:
            # Not the message: it may quote the document, and logs never hold source text.
            places = "".join(traceback.format_tb(error.__traceback__))
            logger.error("request %s failed: %s\n%s", request_id, type(error).__name__, places)
            self._carry_out(session, session.receive(Failed("The request failed.", request_id)))

    def _forget(self, request_id: str, _: asyncio.Task[None]) -> None:
        del self._tasks[request_id]
