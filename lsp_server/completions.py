"""Carries out what sessions decide: tasks for the engine, timers for deadlines, reply futures.

One `Session` per document; all decisions are made there. Knows neither LSP nor sockets.
"""

import asyncio
import itertools
import logging
import traceback
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Protocol

from lsp_server.context import build_request
from lsp_server.documents import Document
from lsp_server.session import Action, Offer, Reply, Session, Start, Stop, Update
from lsp_server.settings import Settings
from lsp_server.snapshot import Snapshot
from sampler.messages import BlockCommitted, Complete, Failed, Finished

logger = logging.getLogger(__name__)


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
        self._engine = engine
        self._settings = settings
        self._on_update = on_update
        self._sessions: dict[str, Session] = {}
        self._replies: dict[str, asyncio.Future[Offer | None]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ids = (str(number) for number in itertools.count(1))

    async def request(self, snapshot: Snapshot) -> Offer | None:
        """The offer for a first paint; cancelling the caller cancels the engine's work.

        None if there is nothing to show or a newer request superseded this one.
        """
        session = self._sessions.setdefault(snapshot.uri, Session())
        reply_id = next(self._ids)
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Offer | None] = loop.create_future()
        self._replies[reply_id] = reply
        deadline = None
        if self.is_followed:
            deadline = loop.call_later(
                self._settings.first_paint_ms / 1000,
                lambda: self._carry_out(session, session.pass_deadline(reply_id)),
            )
        try:
            self._carry_out(session, session.request(reply_id, snapshot))
            return await reply
        finally:
            if deadline is not None:
                deadline.cancel()
            del self._replies[reply_id]
            self._carry_out(session, session.cancel(reply_id))  # does nothing once answered

    def change(self, document: Document) -> None:
        """The document has changed."""
        if session := self._sessions.get(document.uri):
            self._carry_out(session, session.change(document.text, document.version))

    def close(self, uri: str) -> None:
        """The document is gone."""
        if session := self._sessions.pop(uri, None):
            self._carry_out(session, session.close())

    def _carry_out(self, session: Session, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Start(request_id, snapshot):
                    task = asyncio.create_task(self._run(session, request_id, snapshot))
                    self._tasks[request_id] = task
                    task.add_done_callback(partial(self._forget, request_id))
                case Stop(request_id):
                    self._tasks[request_id].cancel()
                case Reply(reply_id, offer):
                    if not self._replies[reply_id].done():  # cancelled, but not yet awake
                        self._replies[reply_id].set_result(offer)
                case Update(offer):
                    self._on_update(offer)

    async def _run(self, session: Session, request_id: str, snapshot: Snapshot) -> None:
        """Feed an engine request's events to the session."""
        try:
            request = build_request(snapshot, self._settings, request_id)
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
