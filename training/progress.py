"""The progress bar of commands that tell what they do, how much is done, and how much there is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

Progress = Callable[[str, int, int], None]


@contextmanager
def progress_bar(console: Console) -> Iterator[Progress]:
    """A bar on the console, none if that is quiet."""
    text, bar, counts = TextColumn("{task.description:>20}"), BarColumn(), MofNCompleteColumn()
    columns = (text, bar, counts, TimeRemainingColumn())
    with ProgressBar(*columns, console=console, disable=console.quiet) as shown:
        task = shown.add_task("starting", total=None)
        yield lambda what, done, total: shown.update(
            task, description=what, completed=done, total=total
        )
