"""`seed-lsp bench` as a person uses it: real processes on the debug model."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import StubPlace, has_ended
from tests.tiny_model import write_tiny_model


class Place:
    """Where a test's engines and weights are; nothing may be left behind."""

    def __init__(self) -> None:
        self._stubs = StubPlace()
        self.folder = self._stubs.folder
        self.model = write_tiny_model(self.folder / "model")
        self.environment = {
            **os.environ,
            **self._stubs.environment,
            "SEED_LSP_CACHE": str(self.folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *arguments: str, timeout: float = 200) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", "-m", "lsp_server", "bench", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def processes(self) -> list[int]:
        return self._stubs.processes("sampler.")

    def end_engines(self) -> None:
        """Of editors: they outlive a bench, as they outlive an editor."""
        for pid in self.processes():
            os.kill(pid, signal.SIGTERM)
            assert has_ended(pid)

    def close(self) -> None:
        left = self.processes()
        self._stubs.close()
        assert not left, f"processes {left} were left behind"


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.close()


def json_of(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    record = json.loads(done.stdout)
    assert list(record)[:4] == ["bench", "machine", "engine", "rival"]
    return dict(record)


def test_decode_measures_the_modes_in_turns(place: Place) -> None:
    arguments = ("decode", "--model", str(place.model), "--context", "64", "128", "--limit", "3")
    done = place.run(*arguments, "--tokens", "16", "--mode", "fast", "--json")
    record = json_of(done)
    assert "measuring decode (100%)" in done.stderr
    assert record["bench"] == "decode"
    assert [one["context_tokens"] for one in record["contexts"]] == [64, 128]  # type: ignore[attr-defined]
    for one in record["contexts"]:  # type: ignore[attr-defined]
        assert list(one["contenders"]) == ["ar", "exact", "fast"]
        for figures in one["contenders"].values():
            assert figures["holes"] == 3
            assert figures["most_cached_tokens"] <= 4, "nothing was replayed"
            assert abs(figures["prompt_tokens_p50"] - one["context_tokens"]) <= 8
        assert one["same_text_as_ar_share"]["exact"] == 1.0


def test_prefill_reads_fresh_prompts(place: Place) -> None:
    arguments = ("prefill", "--model", str(place.model), "--context", "64", "--limit", "2")
    (size,) = json_of(place.run(*arguments, "--json"))["sizes"]  # type: ignore[misc]
    figures = size["contenders"]["ours"]
    assert figures["rate"]["n"] == 2
    assert figures["most_cached_tokens"] <= 4
    shown = place.run(*arguments)
    assert shown.returncode == 0, shown.stderr
    assert "MiB resident" in shown.stdout or sys.platform != "linux"


def test_cancel_leaves_the_engine_idle(place: Place) -> None:
    done = place.run("cancel", "--model", str(place.model), "--limit", "12", "--json")
    record = json_of(done)
    writing, reading = record["while_writing"], record["while_reading_context"]
    assert writing["n"] + reading["n"] > 0  # type: ignore[index]
    for figures in (writing, reading):
        assert figures["forwards_begun_after"] == 0  # type: ignore[index]
    assert record["forward"]["p50_ms"] > 0  # type: ignore[index]
    shown = place.run("cancel", "--model", str(place.model), "--limit", "4")
    assert "a forward that writes takes" in shown.stdout, shown.stderr


def test_keystroke_types_in_the_real_server(place: Place) -> None:
    trace = place.folder / "hello.json"
    keys = [{"time": f"2020-01-01T00:00:0{at}Z", "patches": [[at, 0, "x"]]} for at in range(5)]
    trace.write_text(json.dumps({"startContent": "\n", "txns": keys}))
    arguments = ("keystroke", "--model", str(place.model), "--trace", str(trace))
    record = json_of(place.run(*arguments, "--limit", "4", "--wait", "--speed", "3", "--json"))
    assert record["keystrokes"] == record["asked"] == 4
    assert record["trace"]["name"] == "hello"  # type: ignore[index]
    computed: dict[str, float] = record["computed_context"]  # type: ignore[assignment]
    assert computed["n"] == 4
    assert computed["most_tokens"] > 0
    shown = place.run(*arguments, "--first", "3", "--speed", "3")
    assert "hello: 2 keystrokes" in shown.stdout, shown.stderr
    place.end_engines()


@pytest.mark.parametrize(
    ("arguments", "expected_words"),
    [
        (["decode", "--context", "8"], "prompts have 32 to 2,048 tokens"),
        (["decode", "--limit", "0"], "--limit 0 is nothing to measure"),
        (["prefill", "--model", "nope"], "there are no weights named 'nope'"),
        (["prefill", "--mode", "exat"], "did you mean 'exact'"),
        (["prefill", "--rival", "gpt"], "gpt"),
        (["prefill", "--rival", "llama.cpp"], "llama"),
        (["cancel", "--limit", "-1"], "--limit -1 is nothing to measure"),
        (["keystroke", "--speed", "0"], "--speed 0 would take for ever"),
        (["keystroke", "--trace", "nope.json"], "nope.json cannot be read"),
        (["keystroke", "--first", "100000"], "no change behind the first 100,000"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], expected_words: str, place: Place) -> None:
    if "--model" not in arguments:
        arguments = [*arguments, "--model", str(place.model)]
    done = place.run(*arguments)
    assert done.returncode == 2, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert expected_words in line


def test_an_engine_that_fails_is_one_sentence(place: Place) -> None:
    (place.model / "model.safetensors").write_bytes(b"not weights")
    done = place.run("prefill", "--model", str(place.model), "--context", "64")
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_control_c_leaves_nothing_behind(place: Place) -> None:
    command = [sys.executable, "-I", "-m", "lsp_server", "bench", "decode"]
    bench = subprocess.Popen(
        [*command, "--model", str(place.model), "--limit", "22", "--context", "512"],
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert bench.stderr is not None
    for line in bench.stderr:
        if line.startswith("measuring decode"):
            break
    else:
        pytest.fail("nothing was measured")
    bench.send_signal(2)
    out, errors = bench.communicate(timeout=30)
    assert bench.returncode == 130
    assert out == ""
    assert "Traceback" not in errors
    deadline = time.monotonic() + 10
    while place.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert place.processes() == []


@pytest.mark.weights
@pytest.mark.slow
def test_the_rival_reads_the_same_prompts(weights_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="the extra `bench` is not installed")
    command = [sys.executable, "-I", "-m", "lsp_server", "bench", "prefill", "--model"]
    arguments = ["--context", "64", "--limit", "2", "--rival", "llama.cpp", "--json"]
    done = subprocess.run(
        [*command, str(weights_path), *arguments],
        env={**os.environ, "SEED_LSP_TUNE": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    record = json_of(done)
    assert "llama-cpp-python" in record["rival"]["build"]  # type: ignore[index]
    (size,) = record["sizes"]  # type: ignore[misc]
    ours, rival = (size["contenders"][name] for name in ("ours", "llama.cpp"))
    assert ours["prompt_tokens_p50"] == rival["prompt_tokens_p50"]
    assert size["speed_ratios"]["ours/llama.cpp"]["p50_times"] > 0
    for memory in record["memory"].values():  # type: ignore[attr-defined]
        assert memory["resident_mib"] is None or memory["resident_mib"] > 400
