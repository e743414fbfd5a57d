"""The editor's progress display of one edit, with a button that cancels it.

Knows LSP's work-done progress, not what is worked at. A client without it, or one that never
answers, is none the wiser: nothing waits for the display.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from concurrent.futures import Future

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer


class EditProgress:
    """From `start` to `end`."""

    def __init__(self, server: LanguageServer, title: str, on_cancel: Callable[[], object]):
        self._server = server
        self._title = title
        self._on_cancel = on_cancel
        self._token = str(uuid.uuid4())
        self._is_shown = False
        self._is_over = False
        self._percentage = 0
        self._task: asyncio.Task[None] | None = None
        """Kept, because a loop alone does not keep its tasks."""

    def start(self) -> None:
        """Ask the client for a display; returns at once."""
        self._task = asyncio.create_task(self._show())

    def report(self, fraction: float) -> None:
        """How much is done, in [0, 1]."""
        percentage = round(100 * fraction)
        if self._is_shown and percentage != self._percentage:
            report = types.WorkDoneProgressReport(percentage=percentage, cancellable=True)
            self._server.work_done_progress.report(self._token, report)
        self._percentage = percentage

    def end(self, message: str) -> None:
        """Take the display away; `message` says how it went."""
        # A request that has been sent is not cancelled: pygls would trip over its answer.
        self._is_over = True
        if self._is_shown:
            self._is_shown = False
            end = types.WorkDoneProgressEnd(message=message)
            self._server.work_done_progress.end(self._token, end)
            self._server.work_done_progress.tokens.pop(self._token, None)

    async def _show(self) -> None:
        progress = self._server.work_done_progress
        with contextlib.suppress(JsonRpcException):  # a client that refuses sees none
            await progress.create_async(self._token)
            if self._is_over:
                progress.tokens.pop(self._token, None)
                return
            loop = asyncio.get_running_loop()

            def cancelled(future: "Future[object]") -> None:
                if future.cancelled():
                    loop.call_soon_threadsafe(self._on_cancel)

            progress.tokens[self._token].add_done_callback(cancelled)
            begin = types.WorkDoneProgressBegin(
                self._title, cancellable=True, percentage=self._percentage
            )
            progress.begin(self._token, begin)
            self._is_shown = True
