"""`workspace/executeCommand`: what a person or a plugin can tell the server beside typing.

An item's own command must never fail, for an editor runs it by itself; the others say in one
sentence what is wrong with their arguments. Knows the server's parts, not how they work.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams

from lsp_server.session import Offer
from lsp_server.workspace_features import inspect_latest

if TYPE_CHECKING:
    from lsp_server.server import SeedServer

ACCEPT = "seed.accept"
DISMISS = "seed.dismiss"
SNOOZE = "seed.snooze"
TOGGLE = "seed.toggle"
RESTART = "seed.restart"
LAST_SUGGESTION = "seed.lastSuggestion"
INSPECT = "seed.inspect"
STATS = "seed.stats"

DEFAULT_SNOOZE_MINUTES = 5.0
MOST_SNOOZE_MINUTES = 24 * 60.0


def accept_command(offer: Offer) -> types.Command:
    """What an item carries, for editors that run it once the item is accepted."""
    arguments = [offer.snapshot.uri, offer.session]
    return types.Command(title="Accepted", command=ACCEPT, arguments=arguments)


def register(server: "SeedServer") -> None:
    """Add the commands, and with them their names to the capabilities."""

    @server.command(ACCEPT)
    def accept(*arguments: Any) -> None:
        if len(arguments) == 2 and all(isinstance(argument, str) for argument in arguments):
            server.usage.accept(*arguments)

    @server.command(DISMISS)
    def dismiss(*arguments: Any) -> None:
        uri = _text(DISMISS, "uri", arguments)
        server.usage.leave(uri)
        server.completions.dismiss(uri)

    @server.command(SNOOZE)
    def snooze(*arguments: Any) -> float:
        minutes = _minutes(arguments)
        server.snooze(60 * minutes)
        return minutes

    @server.command(TOGGLE)
    def toggle(*arguments: Any) -> bool:
        return server.switch.toggle(_flag(arguments))

    @server.command(RESTART)
    async def restart(*arguments: Any) -> None:
        _none(RESTART, arguments)
        server.configuration.refresh()
        server.apply_settings()
        await server.engine.restart("The engine is restarted, as you asked.")

    @server.command(LAST_SUGGESTION)
    def last_suggestion(*arguments: Any) -> dict[str, Any] | None:
        offer = server.completions.last_suggestion(_text(LAST_SUGGESTION, "uri", arguments))
        if offer is None:
            return None
        line = offer.snapshot.line
        return {"text": offer.text, "line": line, "session": offer.session}

    @server.command(INSPECT)
    def inspect(*arguments: Any) -> dict[str, Any] | None:
        return inspect_latest(server, _text(INSPECT, "uri", arguments))

    @server.command(STATS)
    async def stats(*arguments: Any) -> dict[str, Any]:
        _none(STATS, arguments)
        return asdict(await server.usage.total())


def _refuse(message: str) -> JsonRpcInvalidParams:
    return JsonRpcInvalidParams(message)


def _none(command: str, arguments: tuple[Any, ...]) -> None:
    if arguments:
        raise _refuse(f"{command} takes no arguments, not {len(arguments)}.")


def _text(command: str, name: str, arguments: tuple[Any, ...]) -> str:
    if len(arguments) != 1 or not isinstance(arguments[0], str):
        raise _refuse(f"{command} takes one argument, the {name}.")
    return arguments[0]


def _minutes(arguments: tuple[Any, ...]) -> float:
    minutes = arguments[0] if arguments else DEFAULT_SNOOZE_MINUTES
    is_number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
    if len(arguments) > 1 or not is_number or not 0 <= minutes <= MOST_SNOOZE_MINUTES:
        raise _refuse(
            f"{SNOOZE} takes the minutes, from 0 (which ends it) to {MOST_SNOOZE_MINUTES:.0f}."
        )
    return float(minutes)


def _flag(arguments: tuple[Any, ...]) -> bool | None:
    if len(arguments) > 1 or not all(isinstance(argument, bool) for argument in arguments):
        raise _refuse(f"{TOGGLE} takes true, false, or nothing to switch over.")
    return arguments[0] if arguments else None
