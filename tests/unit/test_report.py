"""The page and the slim form of a run."""

import pytest

from tests.runs import SECRET, sample, score, write_run
from training.cli import app
from training.evaluation.kept import slim, without_paths
from training.evaluation.records import RunError, read_run
from training.evaluation.report import write_report
from training.evaluation.summary import compare, summarize

OURS, AR, RIVAL = "ours/exact", "ours/ar", "llama.cpp/ar"


def write_example(folder, **fields):
    drafts = [sample(f"task/{index}", OURS, accepted=(index, 0)) for index in range(4)]
    slow = [sample(f"task/{index}", RIVAL, total_ms=900.0) for index in range(4)]
    failed = [score("task/1", RIVAL, passed=False, exact=False)]
    names = [OURS, AR, RIVAL]
    return write_run(folder, names, samples=drafts + slow, scores=failed, **fields)


def rows_of(page):
    """Cells of each table row that begins with a contender, by contender, tables joined."""
    rows = {}
    for line in page.split("## Beside")[0].splitlines():
        if line.startswith("| `"):
            name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            rows.setdefault(name.strip("`"), []).extend(cells)
    return rows


def test_the_page_tells_everything(tmp_path):
    page = write_report([write_example(tmp_path / "run")], tmp_path / "out").read_text()
    rows = rows_of(page)
    shares = ["100.0 % (51.0–100.0)", "100.0 %", "100.0 %", "100.0 %"]
    times = ["2.00", "0.75", "5.0", "300 / 300", "100 / 200", "33.3", "50.0", "1.00"]
    assert rows[OURS] == ["4", *shares, *times]
    assert rows[RIVAL][1].startswith("75.0 %")
    assert "`llama.cpp/ar` against `ours/exact`: takes 3.00 times as long" in page
    assert "`llama.cpp/ar` against `ours/ar`: takes 3.00 times as long" in page
    assert "; pass@1 -25.0 points (" in page
    assert "; only it 0, only the other 1; McNemar p = 1)" in page
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
    write_report([write_example(tmp_path / "drafts")], tmp_path / "out")
    write_report([write_run(tmp_path / "run", [AR])], tmp_path / "out")
    assert not (tmp_path / "out" / "accepted.svg").exists()
    assert "No contender drafts" in (tmp_path / "out" / "README.md").read_text()


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
    told = "4 of 4 completions measured, 0 judged"
    with pytest.raises(RunError, match=f"No run has finished a task.*{told}"):
        write_report([run], tmp_path / "out")
    other = write_run(tmp_path / "other", [AR], set="multi-line")
    assert f"- single-line: {told}" in write_report([run, other], tmp_path / "out").read_text()


def test_runs_of_the_same_tasks_are_compared(tmp_path):
    earlier = write_run(tmp_path / "earlier", [AR], started="2026-01-01T00:00:00+00:00")
    later = write_example(tmp_path / "later")
    page = write_report([later, earlier], tmp_path / "out").read_text()
    assert "## Between runs" in page
    told = "`llama.cpp/ar` against `ours/ar` in *single-line · 2026-01-01 00:00* (abc1234): "
    assert told in page
    assert page.index("2026-01-01") < page.index("2026-01-02")


def test_a_run_that_is_stored_twice_counts_once(tmp_path):
    run = write_example(tmp_path / "run")
    page = write_report([run], tmp_path / "out").read_text()
    both = [slim(run, tmp_path / "kept"), run]
    assert write_report(both, tmp_path / "twice").read_text() == page


def test_what_is_not_run_is_judged_by_exact_match(tmp_path):
    untold = [score(f"task/{index}", AR, passed=None) for index in range(4)]
    run = write_run(tmp_path / "run", [AR], scores=untold, set="holes:/home/ada/project")
    page = write_report([run], tmp_path / "out").read_text()
    assert "## holes:project" in page
    assert "| n | exact match |" in page  # no column of pass@1
    assert "/home/ada" not in page


def test_a_run_with_the_least_that_a_header_may_hold(tmp_path):
    run = write_run(tmp_path / "run", [AR], commits=(), command="", machine={})
    page = write_report([run], tmp_path / "out").read_text()
    assert "commit unknown" in page
    assert "command unknown" in page


def test_the_slim_form_has_the_figures_and_no_text(tmp_path):
    run = write_example(tmp_path / "run")
    thin = slim(run, tmp_path / "thin")
    assert SECRET in (run / "samples.jsonl").read_text()
    assert {path.name for path in thin.iterdir()} == {
        *("run.json", "samples.jsonl.gz", "scores.jsonl.gz")
    }
    kept = repr(read_run(thin))
    assert SECRET not in kept
    assert "/home/ada" not in kept
    for name in (OURS, AR, RIVAL):
        assert summarize(read_run(thin), name) == summarize(read_run(run), name)
    assert read_run(thin).scores == read_run(run).scores
    thinner = slim(thin, tmp_path / "thinner")
    for path in thin.iterdir():
        assert path.read_bytes() == (thinner / path.name).read_bytes()


def test_equal_texts_stay_equal_in_the_slim_form(tmp_path):
    other = [sample("task/0", AR, completion="something else")]
    run = write_run(tmp_path / "run", [OURS, AR], samples=other)
    thin, whole = read_run(slim(run, tmp_path / "thin")), read_run(run)
    assert compare((thin, OURS), (thin, AR)).same_text == 0.75
    assert compare((thin, OURS), (whole, OURS)).passed.n == 4


def test_a_whole_run_is_never_overwritten(tmp_path):
    run = write_example(tmp_path / "run")
    before = (run / "samples.jsonl").read_text()
    with pytest.raises(RunError, match="name another folder"):
        slim(run, run)
    assert (run / "samples.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("seed-train evaluate x --data ../a/eval", "seed-train evaluate x --data eval"),
        ("seed-train evaluate x --data=/home/ada/eval/", "seed-train evaluate x --data=eval"),
        ("seed-train evaluate holes:~/code/it", "seed-train evaluate holes:it"),
        (
            "seed-train evaluate x --model Qwen/Qwen2.5",
            "seed-train evaluate x --model Qwen/Qwen2.5",
        ),
    ],
)
def test_paths_are_cut_to_their_last_part(tmp_path, command, kept):
    header = read_run(write_run(tmp_path, [AR], command=command)).header
    assert without_paths(header).command == kept


def test_the_command_finds_and_keeps_runs(tmp_path):
    write_example(tmp_path / "runs" / "one")
    words = ["report", tmp_path / "runs", "--out", tmp_path / "out", "--keep", tmp_path / "kept"]
    app([str(word) for word in words], result_action="return_value")
    assert (tmp_path / "out" / "README.md").exists()
    assert SECRET not in repr(read_run(tmp_path / "kept" / "one"))
    with pytest.raises(RunError, match="no stored runs"):
        app(["report", str(tmp_path / "out")], result_action="return_value")


def test_a_damaged_run_is_one_sentence(tmp_path):
    run = write_run(tmp_path / "run", [AR])
    (run / "run.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        write_report([run], tmp_path / "out")
    with pytest.raises(RunError, match="holds no run"):
        write_report([tmp_path / "none"], tmp_path / "out")
