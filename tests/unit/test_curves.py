"""Logs of a run in, a law and a plot out."""

import json
import math
from pathlib import Path

import pytest

from training.curves import CurveError, describe, fit, plot_run, read_run


def write_run(folder: Path, accepted: bool = True) -> Path:
    folder.mkdir()
    steps = [
        {"step": step, "loss": 4.0 - 0.01 * step, "rows": 100.0, "seconds": 2.0}
        for step in range(100)
    ]
    (folder / "log.jsonl").write_text("".join(f"{json.dumps(step)}\n" for step in steps))
    lines = []
    for step in range(0, 101, 10):
        value = 0.5 + 0.2 * math.log(max(100 * step, 1))
        figures = {"accepted": value, "right_1": 1.0, "right_2": value / 4}
        lines.append({"step": step, **(figures if accepted else {"ended": 0.5, "nats": 1.0})})
    (folder / "evaluations.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


def test_the_law_is_found_and_reaches_ahead(tmp_path: Path) -> None:
    log = read_run(write_run(tmp_path / "run"))
    told = describe(log)
    assert told["trained_tokens"] == 10_000
    assert told["tokens_per_second"] == 50
    assert told["law"] == pytest.approx({"offset": 0.5, "slope": 0.2})
    assert told["tokens_for"]["3"] == pytest.approx(math.exp(12.5))


def test_a_law_needs_points_and_may_never_get_there() -> None:
    assert fit([0, 10, 20], [0.1, 0.2, 0.3]) is None
    falling = fit([10, 20, 40, 80], [4.0, 3.0, 2.0, 1.0])
    assert falling is not None
    assert falling.tokens_for(5) == math.inf


@pytest.mark.parametrize("accepted", [True, False])
def test_the_plot_is_the_same_each_time(tmp_path: Path, accepted: bool) -> None:
    log = read_run(write_run(tmp_path / "run", accepted))
    for name in ("a.svg", "b.svg"):
        plot_run(log, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()


def test_a_folder_without_a_run_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(CurveError, match="no log"):
        read_run(tmp_path)
    (tmp_path / "log.jsonl").write_text("{nonsense}\n")
    with pytest.raises(CurveError, match="damaged"):
        read_run(tmp_path)
