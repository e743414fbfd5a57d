"""The report's plots: figures in, SVG files out. Knows no files of runs.

The same figures give the same bytes, so that a page in git changes only where a figure did.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from training.evaluation.scores import MissingExtraError
from training.evaluation.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cost = Literal["tokens_per_forward", "p50_ms"]
_COST_LABELS: Mapping[Cost, str] = {
    "tokens_per_forward": "tokens per forward (more is better)",
    "p50_ms": "milliseconds, median (less is better)",
}
_STYLE: Mapping[str, Any] = {
    "svg.hashsalt": "seed-lsp",
    "svg.fonttype": "path",
    "figure.facecolor": "white",  # readable on a dark page, too
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "axes.axisbelow": True,
}
COLORS = ("#0b6e4f", "#c84630", "#3d5a98", "#8d5a97", "#b58900", "#4c4c4c")
_MARKERS = ("o", "s", "^", "D", "v")  # one less than colors: 30 pairs before one comes again
_MAX_COLUMNS = 3


def plot_quality(by_set: Mapping[str, Mapping[str, Summary]], cost: Cost, path: Path) -> None:
    """A panel for each set: quality upwards, and to the right what it cost.

    Args:
        by_set: contenders of each set, by the name that the legend shows.
        cost: what runs to the right.
        path: SVG to write.

    Raises:
        MissingExtraError: without matplotlib.
    """
    styles = _styles(label for own in by_set.values() for label in own)
    with panels_of(by_set, path) as panels:
        for (name, own), axes in zip(by_set.items(), panels, strict=True):
            axes.set(title=name, xlabel=_COST_LABELS[cost])
            for label, summary in own.items():
                _point(axes, summary, getattr(summary, cost), label, styles[label])
            axes.margins(y=0.25)
            places = [getattr(summary, cost) or 0.0 for summary in own.values()]
            axes.set_xlim(0, 1.15 * max(places) or 1)


def plot_accepted(by_set: Mapping[str, Mapping[str, Sequence[int]]], path: Path) -> None:
    """A panel for each set: how many drafts each verifying forward accepted, as shares.

    Args:
        by_set: accepted drafts of each forward, of each contender that drafts.
        path: SVG to write.

    Raises:
        MissingExtraError: without matplotlib.
    """
    styles = _styles(label for own in by_set.values() for label in own)
    with panels_of(by_set, path) as panels:
        for (name, own), axes in zip(by_set.items(), panels, strict=True):
            axes.set(title=name, xlabel="accepted drafts of a block", ylabel="% of the blocks")
            axes.grid(visible=False, axis="x")
            axes.locator_params(axis="x", integer=True)
            width = 0.8 / len(own)
            for index, (label, accepted) in enumerate(own.items()):
                counts = Counter(accepted)
                places = range(max(counts) + 1)
                axes.bar(
                    [place - 0.4 + width * (index + 0.5) for place in places],
                    [100 * counts[place] / len(accepted) for place in places],
                    width,
                    label=label,
                    color=styles[label][0],
                )


def _point(
    axes: "Axes", summary: Summary, place: float | None, label: str, style: tuple[str, str]
) -> None:
    is_run = summary.pass_rate is not None
    quality = summary.pass_rate if is_run else summary.exact_match
    if quality is None or place is None:
        return
    color, marker = style
    if summary.pass_interval is not None:
        low, high = summary.pass_interval
        axes.vlines(place, 100 * low, 100 * high, color=color, alpha=0.4)
    axes.plot(place, 100 * quality, marker, color=color, alpha=0.85, label=label)
    axes.set_ylabel("pass@1, %" if is_run else "exact match, %")


def _styles(labels: Iterable[str]) -> Mapping[str, tuple[str, str]]:
    """A color and a marker for each contender, the same in all panels."""
    names = dict.fromkeys(labels)
    looks = zip(itertools.cycle(COLORS), itertools.cycle(_MARKERS), strict=False)
    return dict(zip(names, looks, strict=False))


@contextmanager
def panels_of(names: Iterable[str], path: Path) -> Iterator[Sequence["Axes"]]:
    """Axes for each name, with one legend below them; the figure is stored in the end."""
    matplotlib = _matplotlib()
    count = len(list(names))
    columns = min(count, _MAX_COLUMNS)
    rows = math.ceil(count / columns)
    with matplotlib.rc_context(_STYLE):
        # Not through pyplot, which keeps figures and chooses a backend for the whole process.
        figure = matplotlib.figure.Figure(
            figsize=(max(4.2 * columns, 5.5), 3.2 * rows + 0.4), layout="constrained"
        )
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for spare in panels[count:]:
            spare.set_axis_off()
        yield panels[:count]
        handles = {
            label: handle
            for axes in panels
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            handles.values(),
            handles,
            loc="outside lower center",
            ncols=min(len(handles), _MAX_COLUMNS) or 1,
            frameon=False,
        )
        figure.savefig(path, format="svg", metadata={"Date": None})


def _matplotlib() -> Any:
    try:
        import matplotlib.figure
    except ImportError as error:
        raise MissingExtraError(
            "Plots are drawn with matplotlib, which is not installed: install seed-lsp[train]."
        ) from error
    return matplotlib
