"""What a status line should say: the engine's state, unless completions are off for a reason.

Pure: takes what has happened, hands on what has changed. Knows neither LSP nor clocks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lsp_server.engine_client import EngineState, EngineStatus

Reason = Literal["off", "snoozed", "manual", "language", "file", "excluded"]
"""Why there is nothing to see: the person switched it off or snoozed it · completions come only
when asked for · off for this language or these files · never for a document like this."""


@dataclass(frozen=True)
class Status:
    """As `seed/status` tells it. `reason` and `message` say why the state is `disabled`."""

    state: EngineState | Literal["disabled"]
    message: str
    progress: float | None = None
    reason: Reason | None = None


@dataclass(frozen=True)
class Quiet:
    """Why no completions are shown; `message` is one sentence for a person."""

    reason: Reason
    message: str


_MESSAGES: dict[str, Quiet] = {
    quiet.reason: quiet
    for quiet in (
        Quiet("off", "Completions are switched off by the setting show."),
        Quiet("manual", "Completions come only when you ask for them."),
        Quiet("language", "Completions are off for this language."),
        Quiet("file", "Completions are off for this file."),
    )
}


def quiet_of(reason: str) -> Quiet | None:
    """What a status line says about a request that was answered with nothing.

    None if there is nothing to say: most of the time the model has no good answer.
    """
    return _MESSAGES.get(reason)


class StatusBoard:
    """Puts together one status from all that bears on it; `send` gets every change, once."""

    def __init__(self, send: Callable[[Status], None]):
        self._send = send
        self._sent: Status | None = None
        self._engine = EngineStatus("starting", "The engine is starting.")
        self._switch: Quiet | None = None
        self._place: Quiet | None = None

    def set_engine(self, status: EngineStatus) -> None:
        """The engine has told what it does."""
        self._engine = status
        self._tell()

    def set_switch(self, quiet: Quiet | None) -> None:
        """The person has switched completions off, or on again."""
        self._switch = quiet
        self._tell()

    def set_place(self, quiet: Quiet | None) -> None:
        """Where the cursor is now there are no completions, or there are."""
        if quiet != self._place:
            self._place = quiet
            self._tell()

    @property
    def status(self) -> Status:
        """What holds now. A failure matters most, then what the person decided."""
        engine = self._engine
        quiet = self._switch or self._place
        if quiet is None or engine.state == "failed":
            return Status(engine.state, engine.message, engine.progress)
        return Status("disabled", quiet.message, None, quiet.reason)

    def _tell(self) -> None:
        if self.status != self._sent:
            self._sent = self.status
            self._send(self.status)
