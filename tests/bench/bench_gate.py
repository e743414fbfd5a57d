"""How well the model's confidence tells right completions from wrong ones: the curve behind `show`.

    python tests/bench/bench_gate.py --data DIR [--limit 100] [--plot curve.svg]

Each task of the single-line set is asked twice: with an empty line, and with the cursor somewhere
in it, as while typing. For each threshold: the share of right and of wrong completions that would
be shown. The last line is one JSON object.
"""

import argparse
import json
import random
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from model.format.syntax import plan_hole
from model.hub import resolve
from model.shipped import choose_adapter
from sampler.load import open_engine
from sampler.messages import BlockCommitted, Complete, Failed
from training.evaluation.scores import is_exact_match
from training.evaluation.sets import SetAbsentError, load_set, sample

MODEL = "qwen2.5-coder-0.5b"
THRESHOLDS = tuple(step / 20 for step in range(20))


@dataclass(frozen=True)
class Answer:
    confidence: float
    is_right: bool


@dataclass(frozen=True)
class Point:
    threshold: float
    right_kept: float
    wrong_dropped: float
    precision: float


def ask(limit: int, data: Path, seed: int) -> list[Answer]:
    """One answer for each place at which the model had anything to say."""
    engine = open_engine(
        resolve(MODEL, offline=True),
        device=torch.device("cpu"),
        dtype=torch.float32,
        adapter=choose_adapter("auto", MODEL),
        kernels="auto",
    )
    draw = random.Random(seed)
    answers = []
    for task in sample(load_set("single-line", data).tasks, limit, seed):
        line = (task.reference or "").rstrip("\n")
        margin = len(line) - len(line.lstrip())
        columns = {0, draw.randint(margin + 1, max(margin + 1, len(line) - 1))}
        for column in sorted(columns):
            prefix = task.prefix + line[:column]
            plan = plan_hole("python", prefix, task.suffix, max_lines=1)
            engine.submit(Complete("1", "d", prefix, task.suffix, plan, mode="exact"))
            text, confidence = "", 1.0
            while engine.has_work:
                for event in engine.step():
                    if isinstance(event, Failed):
                        raise SystemExit(event.message)
                    if isinstance(event, BlockCommitted):
                        text, confidence = text + event.text, event.confidence
            if text.strip():
                answers.append(Answer(confidence, is_exact_match(line[:column] + text, line)))
        print(f"{len(answers)} answers", file=sys.stderr)
    return answers


def curve(answers: list[Answer]) -> list[Point]:
    """What each threshold would do to the answers."""
    num_right = sum(answer.is_right for answer in answers)
    num_wrong = len(answers) - num_right
    points = []
    for threshold in THRESHOLDS:
        shown = [answer for answer in answers if answer.confidence >= threshold]
        right = sum(answer.is_right for answer in shown)
        points.append(
            Point(
                threshold,
                right / max(num_right, 1),
                1 - (len(shown) - right) / max(num_wrong, 1),
                right / max(len(shown), 1),
            )
        )
    return points


def plot(points: list[Point], path: Path) -> None:
    """The curve as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4))
    axes = figure.add_subplot(xlabel="threshold", ylim=(0, 1.02))
    thresholds = [point.threshold for point in points]
    for name in ("right_kept", "wrong_dropped", "precision"):
        axes.plot(thresholds, [getattr(point, name) for point in points], label=name)
    axes.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("no-data-given"))
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    try:
        answers = ask(arguments.limit, arguments.data, arguments.seed)
    except SetAbsentError as error:
        print(json.dumps({"skipped": str(error)}))
        return
    points = curve(answers)
    for point in points:
        print(
            f"{point.threshold:.2f}: {point.right_kept:6.1%} of the right ones are shown, "
            f"{point.wrong_dropped:6.1%} of the wrong ones are not; {point.precision:6.1%} right"
        )
    if arguments.plot:
        plot(points, arguments.plot)
    print(
        json.dumps(
            {
                "n": len(answers),
                "right": sum(answer.is_right for answer in answers),
                "points": [asdict(point) for point in points],
            }
        )
    )


if __name__ == "__main__":
    main()
