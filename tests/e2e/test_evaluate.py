"""`seed-train evaluate` and `report` on a tiny model and a tiny set, engines in their processes."""

import json
from pathlib import Path

import pytest

from tests.tiny_model import write_tiny_model
from training.cli import app
from training.evaluation import evaluate as evaluation
from training.evaluation.records import read_run
from training.evaluation.report import write_report


def record(index):
    return {
        "task_id": f"SingleLineInfilling/Tiny/{index}",
        "entry_point": f"f{index}",
        "prompt": f"def f{index}(a):\n",
        "suffix": "    return a\n",
        "canonical_solution": f"    a = a + {index}\n",
        "test": f"def check(candidate):\n    assert candidate(1) == {index + 1}\n",
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def data(tmp_path):
    lines = [json.dumps(record(index)) + "\n" for index in range(6)]
    (tmp_path / "HumanEval-SingleLineInfilling.jsonl").write_text("".join(lines))
    return tmp_path


@pytest.fixture
def run(data, model, tmp_path, capsys):
    def run(*words):
        options = ["--data", data, "--model", model, "--out", tmp_path / "runs", "--threads", "1"]
        words = [str(word) for word in ("evaluate", *words, *options, "--dtype", "float32")]
        status = app(words, result_action="return_value")
        return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def test_the_last_line_has_the_figures(run):
    status, [line] = run("single-line", "--mode", "exact", "--mode", "ar", "--json")
    assert status == 0
    assert {"set": "single-line", "n": 6, "engine": "ours", "mode": "exact"}.items() <= line.items()
    for key in ("pass@1", "exact_match", "tokens_per_forward", "p50_ms", "p95_ms"):
        assert line[key] is not None, key
    assert line["tokens_per_second"] > 0
    assert [rival["mode"] for rival in line["rivals"]] == ["ar"]
    assert line["rivals"][0]["n"] == 6


def test_a_killed_run_goes_on_where_it_was(run, tmp_path, monkeypatch):
    _, [line] = run("single-line", "--mode", "ar", "--json")
    samples = tmp_path / "runs" / line["run"].rsplit("/", 1)[1] / "samples.jsonl"
    whole = samples.read_text().splitlines(keepends=True)
    # Half of the fourth line is on the disk, and nothing was judged.
    samples.write_text("".join(whole[:3]) + whole[3][:40])
    (samples.parent / "scores.jsonl").unlink()
    measured = []
    real = evaluation._sample
    monkeypatch.setattr(
        evaluation, "_sample", lambda *given: measured.append(given[0].task_id) or real(*given)
    )
    _, [again] = run("single-line", "--mode", "ar", "--json")
    assert again["run"] == line["run"]
    assert len(measured) == 3
    assert samples.read_text().splitlines(keepends=True)[:3] == whole[:3]
    after = read_run(samples.parent)
    assert [sample.completion for sample in after.samples.values()] == [
        json.loads(text)["completion"] for text in whole
    ]
    assert len(after.scores) == 6
    # The third time there is nothing left to do.
    measured.clear()
    run("single-line", "--mode", "ar", "--json")
    assert measured == []


def test_a_smaller_limit_is_the_head_of_a_larger_one(run):
    _, [small] = run("single-line", "--limit", "2", "--json")
    _, [large] = run("single-line", "--limit", "4", "--json")
    small, large = (read_run(Path(line["run"])).header for line in (small, large))
    assert large.task_ids[:2] == small.task_ids


def test_edits_tell_what_was_generated_again(run, tmp_path):
    edit = {
        "task_id": "EditEval/0",
        "instruction": "Return two.",
        "context": "",
        "input": "def one():\n    return 1\n",
        "output": "def one():\n    return 2\n",
        "test": "def check():\n    assert one() == 2\n",
    }
    (tmp_path / "edit_eval.jsonl").write_text(json.dumps(edit) + "\n")
    _, [line] = run("editeval", "--mode", "exact", "--mode", "ar", "--json")
    score = read_run(Path(line["run"])).scores["EditEval/0", "ours/exact"]
    assert score.kept >= 1, "both end with a line break"
    assert line["regenerated"] == score.unforeseen / score.kept
    assert line["rivals"][0]["regenerated"] == 1.0
    _, [greedy] = run("editeval", "--mode", "exact", "--no-must-change", "--json")
    assert greedy["run"] != line["run"]
    for stored, must_change in ((line, True), (greedy, False)):
        header = read_run(Path(stored["run"])).header
        assert header.contenders[0].settings["must_change"] is must_change


def test_absent_sets_are_named_and_skipped(run):
    status, lines = run("all", "--limit", "1", "--json")
    assert status == 0
    found = [line["set"] for line in lines if "skipped" not in line]
    assert found == ["single-line", "open-line"]
    assert len(lines) == 8
    status, _ = run("mbpp", "--json")
    assert status == 1


def test_holes_in_a_folder_of_ones_own(run, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    body = "".join(f"    value_{i} = compute(argument, {i})\n" for i in range(8))
    (folder / "module.py").write_text(f"def function(argument):\n{body}    return argument\n")
    _, [line] = run(f"holes:{folder}", "--limit", "3", "--json")
    assert line["pass@1"] is None
    assert line["exact_match"] is not None
    assert line["parses"] is not None


def test_perplexity_of_a_folder(run, tmp_path):
    (tmp_path / "module.py").write_text("x = 1\n" * 40)
    _, [line] = run(f"perplexity:{tmp_path}", "--json")
    assert line["files"] == 1
    assert 1 < line["perplexity"] < 5000
    assert line["masked_perplexity"] is None


def test_the_page(run, tmp_path):
    _, [line] = run("single-line", "--mode", "exact", "--mode", "ar", "--json")
    page = write_report([Path(line["run"])], tmp_path / "page").read_text()
    assert "ours/exact" in page
    assert "single-line" in page


def test_mistakes_are_one_sentence(run, tmp_path):
    with pytest.raises(ValueError, match="Unknown set"):
        run("double-line")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no source files"):
        run(f"perplexity:{tmp_path / 'empty'}")


def test_nobody_always_comes_first():
    entries = ["a", "b", "c"]
    orders = [list(evaluation._rotated(entries, index)) for index in range(3)]
    assert sorted(order[0] for order in orders) == entries
    assert all(sorted(order) == entries for order in orders)
