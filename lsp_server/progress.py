"""The editor's own progress display while weights are fetched or loaded.

Knows the states of the engine and LSP's work-done progress, nothing else.
"""

import asyncio
import contextlib
import logging
import uuid

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from lsp_server.engine_client import EngineStatus

logger = logging.getLogger(__name__)

SHOW_AFTER_S = 0.5
"""What is quicker needs no display; an engine of another window is there at once."""


class LoadingProgress:
    """At most one display at a time, from `loading` until any other state."""

    def __init__(self, server: LanguageServer):
        self.is_supported = False
        """Whether the client has `window.workDoneProgress`."""
        self._server = server
        self._status: EngineStatus | None = None
        self._token: str | None = None
        self._percentage: int | None = None
        self._task: asyncio.Task[None] | None = None

    def follow(self, status: EngineStatus) -> None:
        """The engine has told what it does."""
        is_loading = status.state == "loading"
        self._status = status if is_loading else None
        if not self.is_supported:
            return
        if is_loading and self._token is not None:
            self._report(status)
        elif is_loading and self._task is None:
            self._task = asyncio.create_task(self._show())
        elif not is_loading:
            self._end(status.message)

    async def _show(self) -> None:
        """Open a display if it still loads after a moment."""
        try:
            await asyncio.sleep(SHOW_AFTER_S)
            token = str(uuid.uuid4())
            with contextlib.suppress(JsonRpcException):  # a client that refuses sees none
                await self._server.work_done_progress.create_async(token)
                if self._status is None:
                    return
                self._token, self._percentage = token, None
                begin = types.WorkDoneProgressBegin("seed-lsp", message=self._status.message)
                if self._status.progress is not None:
                    begin.percentage = _percentage(self._status)
                self._server.work_done_progress.begin(token, begin)
        finally:
            self._task = None

    def _report(self, status: EngineStatus) -> None:
        assert self._token is not None
        percentage = _percentage(status)
        if percentage is None or percentage != self._percentage:
            self._percentage = percentage
            report = types.WorkDoneProgressReport(message=status.message, percentage=percentage)
            self._server.work_done_progress.report(self._token, report)

    def _end(self, message: str) -> None:
        if self._task is not None:
            self._task.cancel()
        token, self._token = self._token, None
        if token is not None:
            end = types.WorkDoneProgressEnd(message=message)
            self._server.work_done_progress.end(token, end)
            self._server.work_done_progress.tokens.pop(token, None)


def _percentage(status: EngineStatus) -> int | None:
    return None if status.progress is None else round(100 * status.progress)
