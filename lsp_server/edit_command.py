"""`seed-lsp edit`: rewrites in files, without an editor.

A place in one file, or every function of many files. Nothing is written unless asked for, and then
a file is replaced as a whole: whoever reads it, and whatever ends this process, sees the old one or
the new one. Knows neither LSP nor how a terminal looks.
"""

import asyncio
import contextlib
import difflib
import glob
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lsp_server.documents import split_lines
from lsp_server.engine_client import ENGINE_COMMAND, EngineClient, EngineStatus
from lsp_server.exclusions import Exclusions
from lsp_server.rewrite import RewriteError, UnchangedError, Wish, rewrite
from lsp_server.settings import Settings
from model.format.definitions import definitions
from model.format.rewriting import ACTIONS, FIX, REWRITE, Action, action_named, is_offered
from model.format.selection import Selection, char_offset, select, tree_root
from model.format.syntax import language_of


class EditCommandError(ValueError):
    """What was asked for cannot be done; one sentence for a person."""


@dataclass(frozen=True)
class Lines:
    """Lines of a file, counted from 1, both included."""

    first: int
    last: int


@dataclass(frozen=True)
class Target:
    """A file, and the lines of it that are meant; without lines it is every function."""

    path: Path
    lines: Lines | None = None


@dataclass
class FileEdit:
    """What became of one file."""

    path: Path
    old: str
    new: str
    notes: list[str] = field(default_factory=list)
    """What a person should know, a line each."""
    num_edits: int = 0
    num_failed: int = 0

    def diff(self) -> str:
        """The change as a unified diff; empty if there is none."""
        old, new = ([*_diff_lines(text)] for text in (self.old, self.new))
        name = self.path.as_posix()
        return "".join(difflib.unified_diff(old, new, f"a/{name}", f"b/{name}"))


class View(Protocol):
    """Who is told how it goes."""

    def show_status(self, status: EngineStatus) -> None:
        """What the engine is doing."""

    def show_place(self, place: str, fraction: float) -> None:
        """What is worked at, and the share of all work that is done, in [0, 1]."""

    def show_file(self, edit: FileEdit) -> None:
        """A file is through."""


def parse_wish(instruction: str, action_name: str | None) -> Wish:
    """What is to be done.

    Raises:
        EditCommandError: if that is nothing, or no action of that name.
    """
    if action_name is None:
        if not instruction.strip():
            raise EditCommandError("say what is to be done, or name an action with --action")
        return Wish(REWRITE, instruction)
    action = action_named(action_name)
    if action is None:
        known = ", ".join(action.name for action in ACTIONS)
        raise EditCommandError(f"there is no action {action_name!r}; known are {known}")
    if action in (REWRITE, FIX) and not instruction.strip():
        raise EditCommandError(
            f"the action {action_name!r} needs words: what to do, or what is wrong"
        )
    return Wish(action, instruction)


def find_targets(text: str) -> list[Target]:
    """Read `FILE`, `FILE:LINE`, `FILE:START-END` or a pattern such as `src/**/*.py`.

    Raises:
        EditCommandError: if nothing is meant by it.
    """
    name, _, numbers = text.rpartition(":")
    first, dash, last = numbers.partition("-")
    ends = [first, last] if dash else [first]
    if name and all(end.isascii() and end.isdigit() for end in ends):
        return [Target(_existing(Path(name)), Lines(int(ends[0]), int(ends[-1])))]
    if os.path.lexists(text):
        return [Target(_existing(Path(text)))]
    if not glob.has_magic(text):
        raise EditCommandError(f"there is no file {text}")
    exclusions = Exclusions([Path.cwd()])
    # Not `Path.glob`, which takes no absolute patterns.
    paths = sorted(Path(found) for found in glob.iglob(text, recursive=True))  # noqa: PTH207
    files = [path for path in paths if path.is_file() and language_of(path.name) != "text"]
    kept = [Target(path) for path in files if exclusions.reason(path) is None]
    if not kept:
        raise EditCommandError(f"no source files that may be edited match {text}")
    return kept


def read_source(path: Path, max_bytes: int) -> str:
    """The text of a file, its line breaks as they are.

    Raises:
        EditCommandError: if it is no text of a sensible size, or may not be shown to a model.
    """
    reason = Exclusions([Path.cwd()]).reason(path)
    if reason is not None:
        raise EditCommandError(f"{path} is not edited: {reason}")
    try:
        content = path.read_bytes()
        text = content.decode()
    except OSError as error:
        raise EditCommandError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise EditCommandError(f"{path} is not UTF-8 text") from error
    if "\0" in text:
        raise EditCommandError(f"{path} is a binary file")
    if len(content) > max_bytes:
        raise EditCommandError(
            f"{path} is too large: {len(content):,} bytes, and max_file_bytes is {max_bytes:,}"
        )
    return text


def places(text: str, target: Target, action: Action) -> list[Selection]:
    """The selections of a file, from its end to its beginning.

    So what is changed in one of them moves none of those that are still to come.

    Raises:
        EditCommandError: if there are no such lines.
    """
    language = language_of(target.path.name)
    if target.lines is not None:
        return [_selected_lines(language, text, target.path, target.lines)]
    root = tree_root(language, text)
    if root is None:
        raise EditCommandError(f"{target.path} is in no language that is known: name its lines")
    found: list[Selection] = []
    for definition in definitions(root):
        begin, end = (
            char_offset(text, at) for at in (definition.node.start_byte, definition.node.end_byte)
        )
        is_inner = found and not definition.is_class and end <= found[-1].end
        if definition.is_class or is_inner:
            continue
        selection = select(language, text, begin, end)
        if selection is not None and (action == REWRITE or is_offered(action, selection)):
            found.append(selection)
    return found[::-1]


async def edit_files(
    sources: Sequence[tuple[Target, str]],
    wish: Wish,
    settings: Settings,
    view: View,
    *,
    is_written: bool,
    engine_command: Sequence[str] = ENGINE_COMMAND,
) -> list[FileEdit]:
    """Edit file after file; each is written as soon as it is through, or not at all.

    Args:
        sources: the files and their texts.
        wish: what is to be done at each place.
        settings: of the engine and of edits.
        view: told how it goes.
        is_written: whether files are replaced; edits with faults are left out of those.
        engine_command: starts the engine.

    Raises:
        EditCommandError: if a file has no such lines.
    """
    work = [(target, text, places(text, target, wish.action)) for target, text in sources]
    num_places = max(sum(len(selections) for *_, selections in work), 1)
    client = EngineClient(settings, view.show_status, engine_command)
    await client.start()
    edits, num_done = [], 0
    try:
        for target, text, selections in work:
            edit = FileEdit(target.path, text, text)
            for selection in selections:
                line = selection.first_line + 1
                name = f"{target.path}:{line}"

                def tell(fraction: float, name: str = name, before: int = num_done) -> None:
                    view.show_place(name, (before + fraction) / num_places)

                tell(0.0)
                await _edit_place(client, edit, selection, wish, settings, tell, is_written)
                num_done += 1
            if is_written and edit.new != edit.old:
                _write(edit)
            view.show_file(edit)
            edits.append(edit)
    finally:
        await client.close()
    return edits


def run_edit(
    sources: Sequence[tuple[Target, str]],
    wish: Wish,
    settings: Settings,
    view: View,
    *,
    is_written: bool,
    engine_command: Sequence[str] = ENGINE_COMMAND,
) -> list[FileEdit]:
    """`edit_files` for callers without an event loop."""
    return asyncio.run(
        edit_files(
            sources, wish, settings, view, is_written=is_written, engine_command=engine_command
        )
    )


def write_atomically(path: Path, old: str, new: str) -> None:
    """Replace the text of a file at once; it is on the disk when this returns.

    Raises:
        EditCommandError: if the file no longer holds `old`, or cannot be replaced.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    temporary: Path | None = None
    try:
        if path.read_bytes() != old.encode():
            raise EditCommandError(f"{path} has changed meanwhile and is left alone")
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=".seed", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(new.encode())
            os.fchmod(file.fileno(), path.stat().st_mode & 0o7777)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        temporary = None
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise EditCommandError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


async def _edit_place(
    client: EngineClient,
    edit: FileEdit,
    selection: Selection,
    wish: Wish,
    settings: Settings,
    tell: Callable[[float], None],
    is_written: bool,
) -> None:
    """Rewrite one selection of a file whose text behind it may have changed already."""
    place = f"{edit.path}:{selection.first_line + 1}"
    current = Selection(selection.language, edit.new, selection.start, selection.end)
    try:
        rewritten = await rewrite(
            client, current, wish, settings, document=str(edit.path), on_progress=tell
        )
    except UnchangedError:
        return
    except RewriteError as error:
        edit.num_failed += 1
        edit.notes.append(f"{place}: {error}")
        return
    edit.notes += [f"{place}: {fault}" for fault in rewritten.faults]
    if rewritten.faults and is_written:
        edit.num_failed += 1
        edit.notes.append(f"{place}: left as it was.")
        return
    edit.num_edits += 1
    edit.new = current.replaced_by(rewritten.new)


def _write(edit: FileEdit) -> None:
    try:
        write_atomically(edit.path, edit.old, edit.new)
    except EditCommandError as error:
        edit.notes.append(f"{error}.")
        edit.num_failed += edit.num_edits
        edit.num_edits, edit.new = 0, edit.old


def _selected_lines(language: str, text: str, path: Path, lines: Lines) -> Selection:
    all_lines = split_lines(text)
    if not 1 <= lines.first <= lines.last <= len(all_lines):
        raise EditCommandError(
            f"{path} has {len(all_lines)} lines, so there are no lines {lines.first}-{lines.last}"
        )
    start = sum(map(len, all_lines[: lines.first - 1]))
    chosen = "".join(all_lines[lines.first - 1 : lines.last]).rstrip("\r\n")
    selection = select(language, text, start, start + len(chosen))
    if selection is None:
        raise EditCommandError(f"lines {lines.first}-{lines.last} of {path} are blank")
    return selection


def _existing(path: Path) -> Path:
    if path.is_dir():
        raise EditCommandError(f"{path} is a folder; name files, such as {path}/**/*.py")
    if not path.is_file():
        raise EditCommandError(f"there is no file {path}")
    return path


def _diff_lines(text: str) -> Iterator[str]:
    """Lines for a diff: what ends without a line break says so."""
    for line in split_lines(text):
        if line:
            yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
