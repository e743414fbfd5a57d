"""The command line as a person uses it: real processes, real files, real exit codes."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lsp_server import __version__
from lsp_server.counters import CounterFile, Counts
from lsp_server.demo import HOLES, Hole, cut_hole
from lsp_server.headless import Location, parse_location, read_snapshot, run_complete
from lsp_server.settings import Settings
from lsp_server.terminal import describe

JSON_KEYS = [
    *("text", "mode", "tokens", "forwards", "prefill_tokens", "cached_tokens"),
    *("first_block_ms", "total_ms", "stop", "model"),
]


def seed_lsp(
    *arguments: str, folder: Path | None = None, timeout: float = 60, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-m", "lsp_server", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def assert_refused(done: subprocess.CompletedProcess[str], expected_words: str) -> None:
    """One sentence on stderr, nothing on stdout, exit code 2."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert expected_words in lines[0]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text("x = 1\ny = é\n")
    (tmp_path / "binary.py").write_bytes(b"x\0y")
    (tmp_path / "latin.py").write_bytes(b"# \xe9\n")
    (tmp_path / "large.py").write_text("x = 1\n" * 900_000)
    (tmp_path / "fake.gguf").write_bytes(b"not weights")
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "expected_words"),
    [
        (["a.py"], "'a.py' is not FILE:LINE:COL"),
        (["a.py:1"], "is not FILE:LINE:COL"),
        (["a.py:one:1"], "is not FILE:LINE:COL"),
        (["a.py:-1:1"], "is not FILE:LINE:COL"),
        (["nope.py:1:1"], "there is no file nope.py"),
        (["folder:1:1"], "folder is a folder"),
        (["a.py:4:1"], "has 3 lines, so there is no line 4"),
        (["a.py:0:1"], "there is no line 0"),
        (["a.py:2:7"], "has columns 1 to 6, not 7"),
        (["a.py:1:0"], "has columns 1 to 6, not 0"),
        (["binary.py:1:1"], "binary.py is a binary file"),
        (["latin.py:1:1"], "latin.py is not UTF-8 text"),
        (["large.py:1:1"], "large.py is too large: 5,400,000 bytes"),
        (["a.py:1:1", "--mode", "exat"], "did you mean 'exact'"),
        (["a.py:1:1", "--threads", "none"], "'threads' must be a whole number"),
        (["a.py:1:1", "--bogus"], "--bogus"),
        (["a.py:1:1", "--model", "nope"], "there are no weights named 'nope'"),
        (["a.py:1:1", "--model", "./nope.gguf"], "there are no weights named './nope.gguf'"),
        (["a.py:1:1", "--model", "fake.gguf"], "neither a GGUF nor a safetensors file"),
        (["a.py:1:1", "--model", "folder"], "neither a GGUF file nor safetensors"),
        (["a.py:1:1", "--model", "owner/name", "--offline"], "run `seed-lsp fetch"),
        ([], "LOCATION requires an argument"),
    ],
)
def test_complete_refuses_in_one_sentence(
    arguments: list[str], expected_words: str, files: Path
) -> None:
    done = seed_lsp("complete", *arguments, folder=files, HF_HOME=str(files / "hf"))
    assert_refused(done, expected_words)


def test_fetch_offline_without_weights_says_what_to_do(tmp_path: Path) -> None:
    done = seed_lsp(
        *("fetch", "--offline"),
        SEED_LSP_CACHE=str(tmp_path),
        HF_HOME=str(tmp_path / "hf"),
    )
    assert_refused(done, "run `seed-lsp fetch` once with a network")


def test_doctor_stops_at_missing_weights_and_says_what_to_do(tmp_path: Path) -> None:
    done = seed_lsp("doctor", SEED_LSP_CACHE=str(tmp_path), HF_HOME=str(tmp_path / "hf"))
    assert done.returncode == 1
    assert re.search(r"^ok +Python: 3\.", done.stdout, re.MULTILINE)
    assert "failed weights:" in done.stdout
    assert "run `seed-lsp fetch` once" in done.stdout
    assert "engine:" not in done.stdout


def test_version_and_help() -> None:
    assert seed_lsp("--version").stdout.strip() == __version__
    done = seed_lsp("--help")
    assert done.returncode == 0
    for word in (
        "complete",
        "doctor",
        "fetch",
        "config",
        "demo",
        "stats",
        "serve",
        "--stdio",
        "--model",
    ):
        assert word in done.stdout


def test_config_show_names_values_sources_and_problems(tmp_path: Path) -> None:
    (tmp_path / "seed-lsp.toml").write_text('max_lines = 3\nmodel = "other"\nmod = "x"\n')
    done = seed_lsp("config", "show", "--json", folder=tmp_path, SEED_LSP_THREADS="2")
    record = json.loads(done.stdout)
    assert record["settings"]["threads"] == {"value": 2, "source": "environment"}
    assert record["settings"]["max_lines"]["value"] == 3
    assert record["settings"]["max_lines"]["source"].startswith("project file")
    assert record["settings"]["model"]["source"] == "default"
    assert len(record["problems"]) == 2
    text = seed_lsp("config", "show", "--threads", "3", folder=tmp_path)
    assert re.search(r"^threads +3 +command line", text.stdout, re.MULTILINE)
    assert "a project may not set it" in text.stderr


def test_stats_are_told_and_reset(tmp_path: Path) -> None:
    state = {"XDG_STATE_HOME": str(tmp_path)}
    assert "Nothing has been counted" in seed_lsp("stats", **state).stdout
    counts = Counts(requests=4, shown=2, accepted=1, quiet={"nothing": 2})
    counts.characters_checked, counts.characters_kept = 10, 9
    counts.add_latency("live", 120)
    assert CounterFile(tmp_path / "seed-lsp" / "stats.json").add(counts)
    record = json.loads(seed_lsp("stats", "--json", **state).stdout)
    assert (record["quiet_rate"], record["acceptance_rate"], record["kept_rate"]) == (0.5, 0.5, 0.9)
    assert 100 < record["latency_ms"]["live"]["p50"] <= 150
    text = seed_lsp("stats", **state).stdout
    assert "2 suggestions shown, 1 accepted (50%)" in text
    assert "asked the engine" in text
    assert "Nothing has been counted" in seed_lsp("stats", "--reset", **state).stdout


def test_any_setting_can_be_set_on_the_command_line() -> None:
    arguments = ("--set", "first_paint_ms=100", "--set", "completion-items=true")
    record = json.loads(seed_lsp("config", "show", "--json", *arguments).stdout)
    for key, value in (("first_paint_ms", 100), ("completion_items", True)):
        assert record["settings"][key] == {"value": value, "source": "command line"}
    assert record["problems"] == []
    assert_refused(seed_lsp("fetch", "--set", "first_pain_ms=1"), "did you mean 'first_paint_ms'")
    assert_refused(seed_lsp("fetch", "--set", "nonsense"), "unknown setting 'nonsense'")


def test_parse_location_keeps_colons_of_the_path() -> None:
    assert parse_location("a:b/c.py:3:9") == Location(Path("a:b/c.py"), 3, 9)


def test_columns_count_characters(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes("é = '😀'\r\ny".encode())
    snapshot = read_snapshot(Location(tmp_path / "a.py", 1, 7), 1000)
    assert (snapshot.prefix, snapshot.suffix) == ("é = '😀", "'\r\ny")
    assert snapshot.language == "python"
    assert read_snapshot(Location(tmp_path / "a.py", 2, 2), 1000).suffix == ""


def test_json_record_of_a_scripted_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "a.py").write_bytes(b"def f():\r\n    \r\n")
    script = tmp_path / "script.json"
    answers = [{"blocks": ["a = 1\n", "    b = 2"]}]
    script.write_text(json.dumps({"record": str(tmp_path / "record"), "answers": answers}))
    snapshot = read_snapshot(Location(tmp_path / "a.py", 2, 5), 1000)
    blocks: list[str] = []
    command = [sys.executable, "-I", "-m", "sampler.stub", "--script", str(script)]
    finished = run_complete(snapshot, Settings(), lambda _: None, blocks.append, command)
    assert blocks == ["a = 1\n", "    b = 2"]
    record = describe(finished, Settings())
    assert list(record) == JSON_KEYS
    assert record["text"] == "a = 1\r\n    b = 2", "line breaks are the file's own"
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize("hole", HOLES, ids=lambda hole: hole.title)
def test_demo_cuts_holes_that_fit_back(hole: Hole, tmp_path: Path) -> None:
    task = cut_hole(hole, tmp_path)
    assert task is not None, f"this Python's {hole.module} reads differently"
    assert task.path.read_text() == task.text
    assert task.text[: task.offset].endswith(hole.before)
    whole = task.text[: task.offset] + hole.original + task.text[task.offset :]
    spec = importlib.util.find_spec(hole.module)
    assert spec is not None
    assert whole == Path(str(spec.origin)).read_text()


SAMPLE = "def add(first, second):\n    return \n"


@pytest.mark.weights
def test_complete_with_real_weights(weights_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SAMPLE)
    done = seed_lsp("complete", "a.py:2:12", "--json", "--mode", "ar", folder=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert list(record) == JSON_KEYS
    assert record["text"] == "first + second"
    assert record["mode"] == "ar"
    assert record["tokens"] <= record["forwards"] + 1
    assert record["stop"] in ("end_of_hole", "line", "limit", "budget")
    streamed = seed_lsp("complete", "a.py:2:12", "--stream", folder=tmp_path, timeout=120)
    assert streamed.returncode == 0, streamed.stderr
    assert "    return first + second" in streamed.stdout
    assert "tokens per forward" in streamed.stderr


@pytest.mark.weights
def test_repository_cannot_shadow_our_modules(weights_path: Path, tmp_path: Path) -> None:
    for name in ("model", "sampler", "lsp_server", "training"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('shadowed')\n")
    (tmp_path / "a.py").write_text(SAMPLE)
    entry_point = Path(sys.executable).parent / "seed-lsp"
    done = subprocess.run(
        [entry_point, "complete", "a.py:2:12", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"].strip()


@pytest.mark.weights
def test_doctor_with_real_weights(weights_path: Path) -> None:
    done = seed_lsp("doctor", timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("weights", "adapter", "engine", "completion", "cancellation", "language server"):
        assert re.search(rf"^ok +{name}: ", done.stdout, re.MULTILINE), name
    assert "a cancel after" in done.stdout


@pytest.mark.weights
def test_demo_streams_every_hole(weights_path: Path) -> None:
    done = seed_lsp("demo", timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "integer, frac, exp = m.groups()" in done.stdout
    assert "lo = bisect_right(a, x, lo, hi)" in done.stdout
    assert "3 completions" in done.stdout
