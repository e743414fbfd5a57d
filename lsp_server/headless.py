"""One completion without an editor, through the same pipeline as in one.

A file on disk becomes a document, a snapshot and a request, exactly as an editor's buffer does.
Knows neither LSP nor how anything is printed.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lsp_server.context import build_request
from lsp_server.documents import Document, Position, split_lines
from lsp_server.edits import with_line_breaks
from lsp_server.engine_client import ENGINE_COMMAND, EngineClient, EngineStatus
from lsp_server.explanation import workspace_of
from lsp_server.informant import Briefing, Informant, path_of
from lsp_server.settings import Settings
from lsp_server.snapshot import Snapshot, take_snapshot
from lsp_server.view import OpenDocument, View
from model.format.syntax import language_of
from sampler.messages import BlockCommitted, Complete, Failed, Finished


class LocationError(ValueError):
    """A place that no completion can be made for; one sentence for a person."""


class EngineFailedError(Exception):
    """The engine could not serve; one sentence for a person."""


@dataclass(frozen=True)
class Location:
    """A file and a place in it; line and column count from 1, the column in characters."""

    path: Path
    line: int
    column: int


def parse_location(text: str) -> Location:
    """Read `FILE:LINE:COL`.

    Raises:
        LocationError: if it is anything else.
    """
    parts = text.rsplit(":", 2)
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts[1:]):
        raise LocationError(f"{text!r} is not FILE:LINE:COL, e.g. main.py:12:5")
    return Location(Path(parts[0]), int(parts[1]), int(parts[2]))


def read_snapshot(location: Location, max_bytes: int) -> Snapshot:
    """The file as an editor would show it with the cursor at the location.

    Raises:
        LocationError: if there is no such file or place, or it is no text of a sensible size.
    """
    path = location.path
    try:
        if path.is_dir():
            raise LocationError(f"{path} is a folder, not a file")
        size = path.stat().st_size
        if size > max_bytes:
            raise LocationError(
                f"{path} is too large: {size:,} bytes, and max_file_bytes is {max_bytes:,}"
            )
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise LocationError(f"there is no file {path}") from error
    except OSError as error:
        raise LocationError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, LocationError):
            raise
        raise LocationError(f"{str(path)!r} is not the name of a file") from error
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise LocationError(f"{path} is not UTF-8 text") from error
    if "\0" in text:
        raise LocationError(f"{path} is a binary file")
    lines = split_lines(text)
    if not 1 <= location.line <= len(lines):
        raise LocationError(f"{path} has {len(lines)} lines, so there is no line {location.line}")
    num_columns = len(lines[location.line - 1].rstrip("\r\n")) + 1
    if not 1 <= location.column <= num_columns:
        raise LocationError(
            f"line {location.line} of {path} has columns 1 to {num_columns}, not {location.column}"
        )
    document = Document(path.absolute().as_uri(), language_of(path.name), 1, text, "utf-32")
    return take_snapshot(document, Position(location.line - 1, location.column - 1))


async def complete_once(
    snapshot: Snapshot,
    settings: Settings,
    on_status: Callable[[EngineStatus], None],
    on_block: Callable[[str], None],
    engine_command: Sequence[str] = ENGINE_COMMAND,
) -> Finished:
    """Start or find the engine, ask once, and tell each block as it arrives.

    Raises:
        EngineFailedError: if there is no engine or it could not answer.
    """
    client = EngineClient(settings, on_status, engine_command)
    await client.start()
    try:
        request = build_request(snapshot, settings, "once")
        briefing = await asyncio.to_thread(_brief, request, snapshot, settings)
        if briefing.refusal is not None:
            raise EngineFailedError(f"there are no completions for this file: {briefing.refusal}")
        async for event in client.complete(briefing.request):
            if isinstance(event, BlockCommitted):
                on_block(event.text)
            elif isinstance(event, Finished):
                return replace(event, text=with_line_breaks(event.text, snapshot.line_break))
            elif isinstance(event, Failed):
                raise EngineFailedError(event.message)
        raise EngineFailedError("the engine gave no answer")
    finally:
        await client.close()


def _brief(request: Complete, snapshot: Snapshot, settings: Settings) -> Briefing:
    """Inform a request as an editor's server would that has only this file open."""
    path = path_of(snapshot.uri)
    view = View((OpenDocument(snapshot.uri, snapshot.language, snapshot.text),))
    return Informant([workspace_of(path)] if path else []).brief(request, settings, view)


def run_complete(
    snapshot: Snapshot,
    settings: Settings,
    on_status: Callable[[EngineStatus], None],
    on_block: Callable[[str], None],
    engine_command: Sequence[str] = ENGINE_COMMAND,
) -> Finished:
    """`complete_once` for callers without an event loop."""
    return asyncio.run(complete_once(snapshot, settings, on_status, on_block, engine_command))
