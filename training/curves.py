"""What a run's logs say: loss and held-out figures against trained tokens, as a plot and a law.

Knows neither models nor data; reads `log.jsonl` and `evaluations.jsonl`.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.evaluation.plots import COLORS, panels_of

_WINDOW = 20
_REACH = 30.0
"""How many times as many tokens as were trained the plot looks ahead."""


class CurveError(ValueError):
    """A run without logs to draw; one sentence for a person."""


@dataclass(frozen=True)
class RunLog:
    """Figures of a run; `tokens` are rows with a loss, trained up to then."""

    tokens: Sequence[float]
    loss: Sequence[float]
    """Means over the last `_WINDOW` steps."""
    evaluations: Sequence[tuple[float, dict[str, float]]]
    """Tokens trained, and what was found then."""
    seconds: float
    """Time of all steps."""
    matmul_share: float | None
    """Median share of the machine's matrix rate, if it was measured."""

    def held_out(self, name: str) -> tuple[list[float], list[float]]:
        """One figure of all evaluations: tokens, and its values."""
        pairs = [(tokens, found[name]) for tokens, found in self.evaluations if name in found]
        return [tokens for tokens, _ in pairs], [value for _, value in pairs]


@dataclass(frozen=True)
class LogLaw:
    """value = offset + slope · ln(tokens)."""

    offset: float
    slope: float

    def at(self, tokens: float) -> float:
        """The value after so many tokens."""
        return self.offset + self.slope * math.log(tokens)

    def tokens_for(self, value: float) -> float:
        """Tokens that it would take; infinite if the curve does not rise."""
        if self.slope <= 0:
            return math.inf
        return math.exp(min((value - self.offset) / self.slope, 700.0))


def read_run(folder: Path) -> RunLog:
    """The logs of a run.

    Raises:
        CurveError: if there is no log, or a line is damaged.
    """
    steps = _lines(folder / "log.jsonl")
    if not steps:
        raise CurveError(f"{folder} holds no log of a run.")
    rows = np.cumsum([step["rows"] for step in steps])
    losses = np.array([step["loss"] for step in steps])
    means = [float(losses[max(0, i - _WINDOW + 1) : i + 1].mean()) for i in range(len(losses))]
    trained = {0: 0.0, **{step["step"] + 1: float(n) for step, n in zip(steps, rows, strict=True)}}
    evaluations = [
        (trained[line["step"]], line)
        for line in _lines(folder / "evaluations.jsonl")
        if line["step"] in trained
    ]
    shares = [step["matmul_share"] for step in steps if "matmul_share" in step]
    return RunLog(
        rows.tolist(),
        means,
        evaluations,
        sum(step["seconds"] for step in steps),
        float(np.median(shares)) if shares else None,
    )


def fit(tokens: Sequence[float], values: Sequence[float]) -> LogLaw | None:
    """The law through the later half of the points, by least squares; None for too few of them.

    Early points tell how a run starts, not how it goes on.
    """
    pairs = [(t, v) for t, v in zip(tokens, values, strict=True) if t > 0]
    pairs = pairs[-max(len(pairs) // 2, 3) :]
    if len(pairs) < 3:
        return None
    x = np.log([t for t, _ in pairs])
    slope, offset = np.polyfit(x, [v for _, v in pairs], 1)
    return LogLaw(float(offset), float(slope))


def plot_run(log: RunLog, path: Path) -> None:
    """Loss, drafts accepted a block with the law's extrapolation, and the drafts right by offset.

    A run without acceptance (stage `fim`) gets its endings instead.

    Raises:
        MissingExtraError: without matplotlib.
    """
    tokens, accepted = log.held_out("accepted")
    names = ["loss", "accepted drafts a block", "right drafts"] if accepted else ["loss", "endings"]
    with panels_of(names, path) as panels:
        panels[0].plot(log.tokens, log.loss, color=COLORS[0])
        if not accepted:
            for color, name in zip(COLORS, ("ended", "nats"), strict=False):
                panels[1].plot(*log.held_out(name), "o-", color=color, label=name)
        else:
            panels[1].plot(tokens, accepted, "o", color=COLORS[0], label="held-out files")
            law = fit(tokens, accepted)
            if law is not None:
                ahead = np.geomspace(max(tokens[1], 1.0), tokens[-1] * _REACH, 50)
                label = f"{law.offset:.2f} + {law.slope:.2f} ln(tokens)"
                panels[1].plot(ahead, [law.at(t) for t in ahead], color=COLORS[1], label=label)
            panels[1].set_xscale("log")
            offsets = [name for name in log.evaluations[0][1] if name.startswith("right_")]
            for color, name in zip(COLORS, offsets[1:], strict=False):
                label = f"draft {name.removeprefix('right_')}"
                panels[2].plot(*log.held_out(name), "o-", color=color, label=label)
        for name, axes in zip(names, panels, strict=True):
            axes.set(title=name, xlabel="trained tokens (rows with a loss)")


def describe(log: RunLog) -> dict[str, Any]:
    """What the command prints."""
    told: dict[str, Any] = {
        "steps": len(log.tokens),
        "trained_tokens": log.tokens[-1],
        "tokens_per_second": log.tokens[-1] / log.seconds,
        "hours": log.seconds / 3600,
        "matmul_share": log.matmul_share,
        "last": log.evaluations[-1][1] if log.evaluations else {},
    }
    law = fit(*log.held_out("accepted"))
    if law is not None:
        told["law"] = {"offset": law.offset, "slope": law.slope}
        told["tokens_for"] = {str(value): law.tokens_for(value) for value in (1.5, 2, 3)}
    return told


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text()
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise CurveError(f"{path} is damaged: {error}.") from error
