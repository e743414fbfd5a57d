"""Figures of runs that are small enough to be computed by hand."""

import pytest

from tests.runs import sample, score, write_run
from training.evaluation.records import read_run
from training.evaluation.summary import common_tasks, compare, summarize

OURS, RIVAL = "ours/exact", "llama.cpp/ar"


def test_figures_by_hand(tmp_path):
    run = read_run(
        write_run(
            tmp_path,
            [OURS],
            samples=[
                sample("task/0", OURS, tokens=30, forwards=5, accepted=(4, 0, 2), total_ms=500.0),
                sample("task/1", OURS, stop="limit", prefill_ms=200.0, memory_mib=2048.0),
            ],
            scores=[score("task/3", OURS, passed=False, exact=False, similarity=0.2)],
        )
    )
    summary = summarize(run, OURS)
    record = summary.record()
    assert record["pass@1"] == record["exact_match"] == 0.75
    assert record["pass@1_interval"] == pytest.approx((0.3006, 0.9544), abs=1e-3)
    assert record["edit_similarity"] == pytest.approx(0.8)
    assert record["tokens_per_forward"] == 60 / 20
    assert record["accepted_per_block"] == 2
    assert record["p50_ms"] == 300
    assert record["p95_ms"] > 400
    assert record["prefill_p50_ms"] == 100
    assert record["decode_p50_ms"] == 200
    assert record["tokens_per_second"] == pytest.approx(60 / 1.4)
    assert record["decode_tokens_per_second"] == pytest.approx(60 / 0.9)
    assert record["ended_by_itself"] == 0.75
    assert record["memory_mib"] == 2048
    assert record["parses"] is None
    assert (record["mode"], record["engine"], record["n"]) == ("exact", "ours", 4)


def test_unchanged_code_is_copied_or_generated_again(tmp_path):
    edits = [
        score(f"task/{index}", name, kept=kept, unforeseen=unforeseen)
        for name in (OURS, RIVAL)
        for index, (kept, unforeseen) in enumerate([(90, 2), (10, 3), (0, 0), (None, None)])
    ]
    run = read_run(write_run(tmp_path / "edits", [OURS, RIVAL], scores=edits))
    assert summarize(run, OURS).record()["regenerated"] == 5 / 100
    assert summarize(run, RIVAL).record()["regenerated"] == 1.0, "it copies nothing"
    run = read_run(write_run(tmp_path / "holes", [OURS, RIVAL]))
    assert summarize(run, OURS).regenerated is summarize(run, RIVAL).regenerated is None


def test_what_was_not_run_has_no_pass_rate(tmp_path):
    untold = [score(f"task/{index}", OURS, passed=None) for index in range(4)]
    run = read_run(write_run(tmp_path, [OURS], scores=untold))
    assert summarize(run, OURS).pass_rate is None
    assert summarize(run, OURS).pass_interval is None


def test_only_what_all_have_finished_counts(tmp_path):
    folder = write_run(tmp_path, [OURS, RIVAL])
    lines = (folder / "samples.jsonl").read_text().splitlines(keepends=True)
    (folder / "samples.jsonl").write_text("".join(lines[:-1]) + lines[-1][:30])
    run = read_run(folder)
    assert common_tasks(run) == ["task/0", "task/1", "task/2"]
    assert summarize(run, OURS).n == 3
    (folder / "scores.jsonl").unlink()
    with pytest.raises(ValueError, match="no task that is finished"):
        summarize(read_run(folder), OURS)


def test_two_contenders_side_by_side(tmp_path):
    slow = [sample(f"task/{i}", RIVAL, total_ms=500.0, completion=f"other {i % 2}") for i in (0, 1)]
    slow += [sample(f"task/{i}", RIVAL, total_ms=900.0) for i in (2, 3)]
    failed = [score(f"task/{i}", RIVAL, passed=False) for i in (0, 1)]
    failed += [score("task/2", OURS, passed=False)]
    run = read_run(write_run(tmp_path, [OURS, RIVAL], samples=slow, scores=failed))
    told = compare((run, OURS), (run, RIVAL))
    assert told.time_ratio.median == pytest.approx((500 / 300 + 3) / 2)
    assert told.time_ratio.interval is None  # four tasks cannot tell 95 %
    assert told.decode_ratio.median == pytest.approx(3)
    assert told.p50_ratio == pytest.approx(700 / 300)
    assert told.tokens_per_second_ratio == pytest.approx(1200 / 2800)
    assert told.n == 4
    assert told.same_text == 0.5
    assert (told.passed.only_first, told.passed.only_second) == (2, 1)
    assert told.passed.difference == pytest.approx(-25)
    assert told.record()["passed"]["p_value"] == pytest.approx(1.0)


def test_the_interval_of_a_ratio_holds_whatever_the_distribution(tmp_path):
    slow = [sample(f"task/{i}", RIVAL, total_ms=300.0 * (i + 1)) for i in range(10)]
    run = read_run(write_run(tmp_path, [OURS, RIVAL], num_tasks=10, samples=slow))
    ratio = compare((run, OURS), (run, RIVAL)).time_ratio
    assert ratio.median == pytest.approx(5.5)
    # P(Binomial(10, 1/2) <= 1) = 1.1 %, <= 2 = 5.5 %: the second and the ninth of ten.
    assert ratio.interval == (pytest.approx(2), pytest.approx(9))


def test_errors_fail_and_have_no_time(tmp_path):
    broken = {"stop": "error: it died", "tokens": 0, "forwards": 0, "completion": ""}
    lost = [sample("task/0", OURS, total_ms=0.0, prefill_ms=0.0, **broken)]
    failed = [score("task/0", OURS, passed=False, outcome="error", exact=False, similarity=0.0)]
    run = read_run(write_run(tmp_path, [OURS, RIVAL], samples=lost, scores=failed))
    summary = summarize(run, OURS)
    assert (summary.n, summary.errors, summary.pass_rate) == (4, 1, 0.75)
    assert (summary.p50_ms, summary.prefill_p50_ms, summary.decode_p50_ms) == (300, 100, 200)
    assert summary.ended_by_itself == 0.75
    assert compare((run, OURS), (run, RIVAL)).time_ratio.median == 1


def test_nobody_answers(tmp_path):
    broken = {"stop": "error: it died", "total_ms": 0.0, "tokens": 0, "forwards": 0}
    lost = [sample(f"task/{i}", name, **broken) for i in range(4) for name in (OURS, RIVAL)]
    run = read_run(write_run(tmp_path, [OURS, RIVAL], samples=lost))
    record = summarize(run, OURS).record()
    assert record["errors"] == 4
    assert [record[key] for key in ("p50_ms", "p95_ms", "tokens_per_second")] == [None] * 3
    told = compare((run, OURS), (run, RIVAL))
    assert (told.time_ratio, told.decode_ratio, told.tokens_per_second_ratio) == (None, None, None)


def test_two_runs_are_compared_on_what_both_have(tmp_path):
    first = read_run(write_run(tmp_path / "first", [OURS], num_tasks=4))
    second = read_run(write_run(tmp_path / "second", [RIVAL], num_tasks=2))
    assert compare((first, OURS), (second, RIVAL)).passed.n == 2
    (tmp_path / "third").mkdir()
    none = read_run(write_run(tmp_path / "third", [RIVAL], num_tasks=0))
    with pytest.raises(ValueError, match="no finished task in common"):
        compare((first, OURS), (none, RIVAL))
