"""The report's plots: summaries in, SVG files out. Knows no files of runs.

The same figures give the same bytes, so that a page in git changes only where a figure did.
"""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.evaluation.scores import MissingExtraError
from training.evaluation.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STYLE: Mapping[str, Any] = {
    "svg.hashsalt": "seed-lsp",
    "svg.fonttype": "path",
    "figure.facecolor": "white",  # readable on a dark page, too
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "axes.axisbelow": True,
}
_COLORS = ("#0b6e4f", "#c84630", "#3d5a98", "#8d5a97", "#b58900", "#4c4c4c")


def plot_quality(by_set: Mapping[str, Sequence[Summary]], cost: str, path: Path) -> None:
    """A panel per set: quality upwards, and to the right what it cost.

    Args:
        by_set: contenders of each set.
        cost: `tokens_per_forward` or `p50_ms`.
        path: SVG to write.

    Raises:
        MissingExtraError: without matplotlib.
    """
    pyplot = _pyplot()
    label = {"tokens_per_forward": "tokens per forward", "p50_ms": "milliseconds, median"}[cost]
    names = dict.fromkeys(own.contender.name for each in by_set.values() for own in each)
    colors = dict(zip(names, itertools.cycle(_COLORS), strict=False))
    with pyplot.rc_context(_STYLE):
        figure, rows = pyplot.subplots(
            1, len(by_set), figsize=(4.2 * len(by_set), 3.6), squeeze=False, layout="constrained"
        )
        for axes, (name, summaries) in zip(rows[0], by_set.items(), strict=True):
            _panel(axes, summaries, cost, colors)
            axes.set(title=name, xlabel=label)
            axes.set_xlim(left=0)
        handles = {
            label: handle
            for axes in rows[0]
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})
        pyplot.close(figure)


def plot_accepted(by_contender: Mapping[str, Sequence[int]], path: Path) -> None:
    """How many drafts each verifying forward accepted, as a share of these forwards.

    Args:
        by_contender: accepted drafts of each forward.
        path: SVG to write.

    Raises:
        MissingExtraError: without matplotlib.
    """
    pyplot = _pyplot()
    with pyplot.rc_context(_STYLE):
        figure, axes = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
        width = 0.8 / len(by_contender)
        for index, (name, accepted) in enumerate(by_contender.items()):
            counts = Counter(accepted)
            places = range(max(counts) + 1)
            shares = [100 * counts[place] / len(accepted) for place in places]
            axes.bar(
                [place - 0.4 + width * (index + 0.5) for place in places],
                shares,
                width,
                label=f"{name}, mean {sum(accepted) / len(accepted):.2f}",
                color=_COLORS[index % len(_COLORS)],
            )
        axes.set(xlabel="accepted drafts of a block", ylabel="% of the verifying forwards")
        axes.grid(visible=False, axis="x")
        axes.legend(frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})
        pyplot.close(figure)


def _panel(
    axes: "Axes", summaries: Sequence[Summary], cost: str, colors: Mapping[str, str]
) -> None:
    for summary in summaries:
        is_run = summary.pass_rate is not None
        quality = summary.pass_rate if is_run else summary.exact_match
        place = getattr(summary, cost)
        if quality is None or place is None:
            continue
        color = colors[summary.contender.name]
        if summary.pass_interval is not None:
            low, high = summary.pass_interval
            axes.vlines(place, 100 * low, 100 * high, color=color, alpha=0.4)
        axes.plot(place, 100 * quality, "o", color=color, label=summary.contender.name)
        axes.set_ylabel("pass@1, %" if is_run else "exact match, %")
    axes.margins(x=0.15, y=0.25)


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError(
            "Plots are drawn with matplotlib, which is not installed: install seed-lsp[train]."
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
