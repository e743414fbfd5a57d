"""The page and the slim form of a run."""

import pytest

from tests.runs import SECRET, sample, score, write_run
from training.cli import app
from training.evaluation.records import RunError, read_run
from training.evaluation.report import slim, write_report
from training.evaluation.summary import summarize

OURS, AR, RIVAL = "ours/exact", "ours/ar", "llama.cpp/ar"


def write_example(folder, **fields):
    drafts = [sample(f"task/{index}", OURS, accepted=(index, 0)) for index in range(4)]
    slow = [sample(f"task/{index}", RIVAL, total_ms=900.0) for index in range(4)]
    failed = [score("task/1", RIVAL, passed=False, exact=False)]
    names = [OURS, AR, RIVAL]
    return write_run(folder, names, samples=drafts + slow, scores=failed, **fields)


def test_the_page_tells_everything(tmp_path):
    page = write_report([write_example(tmp_path / "run")], tmp_path / "out").read_text()
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line[:3] == "| `"}
    assert "100.0 % (51.0–100.0)" in rows["`ours/exact`"]
    assert "75.0 %" in rows["`llama.cpp/ar`"]
    assert "`llama.cpp/ar` takes 3.00 times as long as `ours/exact`" in page
    assert "McNemar p = 1" in page
    assert "Qwen2.5-Coder-0.5B, AR" in page
    for told in ("abc1234", "ab" * 8, "cd" * 8, "cores 2", "2026-01-02", "--mode ar"):
        assert told in page, told
    for name in ("quality-tokens-per-forward.svg", "quality-milliseconds.svg", "accepted.svg"):
        assert f"({name})" in page
        assert "<svg" in (tmp_path / "out" / name).read_text()


def test_the_same_runs_give_the_same_bytes(tmp_path):
    run = write_example(tmp_path / "run")
    first, second = (write_report([run], tmp_path / name).parent for name in ("first", "second"))
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_without_drafts_there_is_no_histogram(tmp_path):
    write_report([write_run(tmp_path / "run", [AR])], tmp_path / "out")
    assert not (tmp_path / "out" / "accepted.svg").exists()
    assert "drafted anything" in (tmp_path / "out" / "README.md").read_text()


def test_a_mixed_run_is_marked(tmp_path):
    runs = [
        write_example(tmp_path / "mixed", commits=("abc1234", "def5678")),
        write_example(tmp_path / "dirty", commits=("abc1234-dirty",), set="multi-line"),
    ]
    page = write_report(runs, tmp_path / "out").read_text()
    assert "more than one commit" in page
    assert "with local changes" in page


def test_an_unfinished_run_says_so(tmp_path):
    run = write_run(tmp_path / "run", [AR])
    lines = (run / "scores.jsonl").read_text().splitlines(keepends=True)
    (run / "scores.jsonl").write_text("".join(lines[:3]))
    page = write_report([run], tmp_path / "out").read_text()
    assert "Not finished: 3 of 4 tasks" in page
    (run / "scores.jsonl").unlink()
    with pytest.raises(RunError, match="finished a task"):
        write_report([run], tmp_path / "out")


def test_runs_of_the_same_tasks_are_compared(tmp_path):
    earlier = write_run(tmp_path / "earlier", [AR], started="2026-01-01T00:00:00+00:00")
    later = write_example(tmp_path / "later")
    page = write_report([later, earlier], tmp_path / "out").read_text()
    assert "## Between runs" in page
    assert "`llama.cpp/ar` takes 3.00 times as long as `ours/ar`" in page


def test_the_slim_form_has_the_figures_and_no_text(tmp_path):
    run = write_example(tmp_path / "run")
    thin = slim(run, tmp_path / "thin")
    texts = [path.read_text() for path in thin.iterdir()]
    assert SECRET in (run / "samples.jsonl").read_text()
    assert not any(SECRET in text or "/home/ada" in text for text in texts)
    for name in (OURS, AR, RIVAL):
        assert summarize(read_run(thin), name) == summarize(read_run(run), name)
    assert slim(thin, tmp_path / "thinner").exists()
    again = tmp_path / "thinner" / "samples.jsonl"
    assert again.read_text() == (thin / "samples.jsonl").read_text()


def test_the_command_finds_and_keeps_runs(tmp_path):
    write_example(tmp_path / "runs" / "one")
    words = ["report", tmp_path / "runs", "--out", tmp_path / "out", "--keep", tmp_path / "kept"]
    app([str(word) for word in words], result_action="return_value")
    assert (tmp_path / "out" / "README.md").exists()
    assert SECRET not in (tmp_path / "kept" / "one" / "samples.jsonl").read_text()
    with pytest.raises(RunError, match="no stored runs"):
        app(["report", str(tmp_path / "out")], result_action="return_value")


def test_a_damaged_run_is_one_sentence(tmp_path):
    run = write_run(tmp_path / "run", [AR])
    (run / "run.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        write_report([run], tmp_path / "out")
    with pytest.raises(RunError, match="holds no run"):
        write_report([tmp_path / "none"], tmp_path / "out")
