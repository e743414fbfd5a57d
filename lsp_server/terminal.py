"""What a person sees in a terminal: progress, a completion in its context, tables.

Knows neither LSP nor the engine; results go to standard output, everything else to stderr.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.status import Status
from rich.table import Table
from rich.text import Text

from lsp_server.engine_client import EngineStatus
from lsp_server.settings import Settings
from lsp_server.snapshot import Snapshot
from model.weight_file import Progress
from sampler.messages import Finished

NUM_CONTEXT_LINES = 6
"""Lines of the file that are shown before and after a completion."""


def describe(finished: Finished, settings: Settings) -> dict[str, Any]:
    """What `complete --json` prints. Counts of tokens and forwards; times in milliseconds."""
    stats = finished.stats
    return {
        "text": finished.text,
        "mode": settings.mode,
        "tokens": stats.tokens,
        "forwards": stats.forwards,
        "prefill_tokens": stats.prefill_tokens,
        "cached_tokens": stats.cached_tokens,
        "first_block_ms": stats.first_block_ms,
        "total_ms": stats.total_ms,
        "stop": finished.stop,
        "model": settings.model,
    }


def describe_cost(finished: Finished) -> str:
    """One line: how much text, how fast, why it ended."""
    stats = finished.stats
    per_forward = stats.tokens / max(stats.forwards, 1)
    first = "-" if stats.first_block_ms is None else f"{stats.first_block_ms:.0f} ms"
    return (
        f"{stats.tokens} tokens in {stats.forwards} forwards ({per_forward:.1f} tokens per "
        f"forward), first block after {first}, all after {stats.total_ms:.0f} ms, "
        f"stop: {finished.stop}"
    )


class CompletionView:
    """A completion as it comes about; status lines go to stderr."""

    def __init__(self, snapshot: Snapshot, *, is_streaming: bool):
        self._snapshot = snapshot
        self._is_streaming = is_streaming
        self._has_prefix = False
        self._out = Console(highlight=False, soft_wrap=True)
        self._status = Status("starting", console=Console(stderr=True))
        if sys.stderr.isatty():
            self._status.start()

    def show_status(self, status: EngineStatus) -> None:
        """What the engine is doing, on one line that vanishes."""
        self._status.update(with_percentage(status.message, status.progress))

    def show_block(self, text: str) -> None:
        """One more block has arrived."""
        self._status.stop()
        if self._is_streaming:
            self._show_prefix()
            self._out.print(Text(text, "bold green"), end="")

    def show_result(self, finished: Finished) -> None:
        """The completion between what stands before and after it, then what it cost."""
        self._show_prefix()
        if not self._is_streaming:
            self._out.print(Text(finished.text, "bold green"), end="")
        self._out.print(Text(head_lines(self._snapshot.suffix), "dim"))
        costs = Console(stderr=True, highlight=False, soft_wrap=True)
        costs.print(describe_cost(finished), style="cyan")

    def close(self) -> None:
        """Take the status line away."""
        self._status.stop()

    def _show_prefix(self) -> None:
        if not self._has_prefix:
            self._has_prefix = True
            self._out.print(Text(tail_lines(self._snapshot.prefix), "dim"), end="")


def tail_lines(text: str, count: int = NUM_CONTEXT_LINES) -> str:
    """The last lines of a text, complete ones and the unfinished one."""
    return "".join(text.splitlines(keepends=True)[-count:])


def head_lines(text: str, count: int = NUM_CONTEXT_LINES) -> str:
    """The first lines of a text, without the last line break."""
    return "".join(text.splitlines(keepends=True)[:count]).removesuffix("\n")


def with_percentage(message: str, fraction: float | None) -> str:
    """A message and how far it is, if that is known."""
    return message if fraction is None else f"{message} ({fraction:.0%})"


@contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, a line for every tenth elsewhere; both on stderr."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _line_reporter()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Bar(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("looking for the weights", total=None)

        def report(progress: Progress) -> None:
            if progress.fraction is None:
                bar.console.print(progress.message)
            else:
                bar.update(
                    task, description=progress.message, total=1.0, completed=progress.fraction
                )

        yield report


def _line_reporter() -> Callable[[Progress], None]:
    last: tuple[str, int] = ("", -1)

    def report(progress: Progress) -> None:
        nonlocal last
        tenth = int((progress.fraction or 0) * 10)
        kind = progress.message.split(" ")[0] if progress.fraction is not None else progress.message
        if (kind, tenth) != last:
            last = (kind, tenth)
            sys.stderr.write(with_percentage(progress.message, progress.fraction) + "\n")
            sys.stderr.flush()

    return report


def show_settings(settings: Settings, origins: dict[str, str]) -> None:
    """A table: setting, value, where from, what it means."""
    table = Table(box=None, pad_edge=False)
    for column in ("setting", "value", "from", "meaning"):
        table.add_column(column, overflow="fold")
    values = asdict(settings)
    for item in fields(Settings):
        value = values[item.name]
        style = None if origins[item.name] == "default" else "bold"
        text = "-" if value is None else str(value)
        table.add_row(item.name, text, origins[item.name], item.metadata["help"], style=style)
    Console().print(table)
