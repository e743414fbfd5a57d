"""Progress bars: of commands that tell what they do and how much is done, and of training."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

Progress = Callable[[str, int, int], None]
RECENT_STEPS = 20


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


@contextmanager
def training_bar(
    console: Console, name: str, num_steps: int
) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """A bar that is told the figures of each step and shows the means of the last ones."""
    recent: deque[Mapping[str, float]] = deque(maxlen=RECENT_STEPS)
    columns = (
        TextColumn(name),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
    )
    with ProgressBar(*columns, console=console, disable=console.quiet) as shown:
        task = shown.add_task("", total=num_steps, told="")

        def tell(step: int, figures: Mapping[str, float]) -> None:
            recent.append(figures)
            shown.update(task, completed=step, told=summarize(recent))

        yield tell


def summarize(recent: deque[Mapping[str, float]]) -> str:
    """Mean loss, share of right predictions and rows with a loss a second of some steps, and their
    share of what the machine can do."""
    sums = {
        key: sum(each.get(key, 0.0) for each in recent)
        for key in ("loss", "rows", "correct", "seconds")
    }
    share = sums["correct"] / max(sums["rows"], 1)
    rate = sums["rows"] / max(sums["seconds"], 1e-9)
    told = f"loss {sums['loss'] / len(recent):.3f}, right {share:.1%}, {rate:.0f} tokens/s"
    shares = [each["matmul_share"] for each in recent if "matmul_share" in each]
    return f"{told}, {sum(shares) / len(shares):.0%} of matmul rate" if shares else told
