"""The person's own switch: completions on or off, or nothing by itself for a while.

Holds for this editor until it leaves; what is to last is a setting. Knows neither LSP nor sessions.
"""

import asyncio
from collections.abc import Callable

from lsp_server.status import Quiet


class Switch:
    """`tell` gets why completions are quiet, or None, at every change."""

    def __init__(self, tell: Callable[[Quiet | None], None]):
        self.is_on = True
        self._tell = tell
        self._timer: asyncio.TimerHandle | None = None

    def toggle(self, is_on: bool | None = None) -> bool:
        """Switch on or off, or over; whether completions are on now."""
        self.is_on = not self.is_on if is_on is None else is_on
        self._tell(self.quiet)
        return self.is_on

    def snooze(self, seconds: float) -> None:
        """Be quiet for a while; 0 ends that."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self.snooze, 0.0) if seconds else None
        self._tell(self.quiet)

    @property
    def quiet(self) -> Quiet | None:
        """Why nothing is offered, if that is so."""
        if not self.is_on:
            return Quiet("off", "Completions are switched off.")
        if self._timer is None:
            return None
        left_s = self._timer.when() - asyncio.get_running_loop().time()
        minutes = max(1, round(left_s / 60))
        return Quiet("snoozed", f"Completions are snoozed for {minutes} min.")
