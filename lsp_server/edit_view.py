"""What a person sees of `seed-lsp edit`: a progress bar, diffs, notes, a summary.

Diffs go to standard output, everything else to stderr. Knows nothing of how edits are made.
"""

import sys
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from lsp_server.edit_command import FileEdit
from lsp_server.engine_client import EngineStatus

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


class EditView:
    """A bar while it works, on a terminal; a context manager."""

    def __init__(self, *, shows_diff: bool):
        self._shows_diff = shows_diff
        self._out = Console(highlight=False, soft_wrap=True)
        self._errors = Console(stderr=True, highlight=False, soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
        self._bar = Progress(
            *columns,
            TimeElapsedColumn(),
            console=self._errors,
            transient=True,
            disable=not self._errors.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=1.0)

    def __enter__(self) -> "EditView":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show_status(self, status: EngineStatus) -> None:
        """What the engine is doing, until it serves."""
        if status.state not in ("ready", "busy"):
            self._bar.update(self._task, description=status.message)

    def show_place(self, place: str, fraction: float) -> None:
        """What is worked at, and how much is done."""
        self._bar.update(self._task, description=place, completed=fraction)

    def show_file(self, edit: FileEdit) -> None:
        """A file is through."""
        if self._shows_diff:
            for line in edit.diff().splitlines(keepends=True):
                self._out.print(Text(line, _STYLES.get(line[:1], "")), end="")
        for note in edit.notes:
            self._errors.print(f"warning: {note}", markup=False)

    def show_summary(self, edits: Sequence[FileEdit], *, is_written: bool) -> None:
        """One line: what has changed and what has not worked."""
        changed = [edit for edit in edits if edit.new != edit.old]
        num_edits = sum(edit.num_edits for edit in changed)
        num_failed = sum(edit.num_failed for edit in edits)
        verb = "written" if is_written else "not written, see --write"
        text = f"{num_edits} edits in {len(changed)} of {len(edits)} files, {verb}"
        if num_failed:
            text += f"; {num_failed} left out"
        sys.stderr.write(f"{text}\n")
