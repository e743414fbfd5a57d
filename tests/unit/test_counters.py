"""The counts and their file: bounded, without text, and never the cause of trouble."""

import json
import threading
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.counters import BUCKETS_MS, CounterFile, Counts, percentile_ms


def counts(**fields: object) -> Counts:
    return Counts(since="2026-01-01", **fields)  # type: ignore[arg-type]


def test_counts_add_up_over_servers_and_keep_the_first_date(tmp_path: Path) -> None:
    file = CounterFile(tmp_path / "deep" / "stats.json")
    first = counts(shown=2, quiet={"nothing": 1})
    first.add_latency("live", 12)
    assert file.add(first)
    second = counts(shown=3, accepted=1, quiet={"nothing": 2, "manual": 1})
    second.add_latency("live", 12)
    second.add_latency("typed", 0.2)
    assert file.add(second)
    total = file.read()
    assert (total.shown, total.accepted, total.quiet) == (5, 1, {"nothing": 3, "manual": 1})
    assert sum(total.latency_ms["live"]) == 2
    assert list((tmp_path / "deep").glob("stats.json?*")) == []


def test_servers_that_save_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "stats.json"

    def save() -> None:
        for _ in range(10):
            assert CounterFile(path).add(counts(shown=1))

    threads = [threading.Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert CounterFile(path).read().shown == 40


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", '{"version": 99}', '{"shown": "many"}'),
        json.dumps({**asdict(counts()), "latency_ms": {"live": [1, 2]}}),
        json.dumps({**asdict(counts()), "quiet": {str(n): 1 for n in range(1000)}}),
    ],
)
def test_a_file_that_is_not_ours_counts_from_zero(content: str, tmp_path: Path) -> None:
    path = tmp_path / "stats.json"
    path.write_text(content)
    assert CounterFile(path).read().shown == 0
    assert CounterFile(path).add(counts(shown=1))
    assert CounterFile(path).read().shown == 1


def test_a_folder_that_cannot_be_written_is_told_not_raised(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not CounterFile(tmp_path / "file" / "stats.json").add(counts(shown=1))


def test_reset_forgets(tmp_path: Path) -> None:
    file = CounterFile(tmp_path / "stats.json")
    file.add(counts(shown=1))
    file.reset()
    file.reset()
    assert file.read().is_empty


@given(st.lists(st.floats(0, 20_000), min_size=1, max_size=50), st.floats(0.01, 1))
def test_percentiles_are_right_to_a_bucket(latencies: list[float], share: float) -> None:
    total = Counts()
    for latency in latencies:
        total.add_latency("live", latency)
    found = percentile_ms(total.latency_ms["live"], share)
    assert found is not None
    ordered = sorted(latencies)
    exact = ordered[max(0, -(-int(share * len(ordered) * 1e9) // 10**9) - 1)]
    bounds = (0.0, *BUCKETS_MS)
    index = next((i for i, most in enumerate(BUCKETS_MS) if exact <= most), len(BUCKETS_MS))
    least, most = bounds[index], bounds[min(index + 1, len(bounds) - 1)]
    assert least <= found <= most


def test_no_answers_have_no_percentile() -> None:
    assert percentile_ms([0] * (len(BUCKETS_MS) + 1), 0.5) is None
