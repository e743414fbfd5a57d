"""When an engine measures and what it does with it: the debug model, a clock and a load of ours."""

from pathlib import Path

import pytest
import torch
from filelock import FileLock

from model.format.plan import HolePlan
from model.format.tokenizer import Tokenizer
from sampler import measure as measuring
from sampler import tuner
from sampler.engine import Engine
from sampler.generation import EngineSettings
from sampler.messages import Complete, Event, Failed, Finished, Tune, Tuned, Tuning
from sampler.profile import Target, read_profile
from sampler.runner import Runner
from sampler.sample import read_holes, sample_prompts
from sampler.tune import choose
from sampler.tuner import LOOK_PAUSE_S, PATIENCE_S, QUIET_S, Tuner, describe_target
from tests.tiny import tiny_vocabulary
from tests.tuning import TARGET, network

VOCABULARY = tiny_vocabulary()
TOKENIZER = Tokenizer(VOCABULARY)


class Bench:
    """An engine on the debug model and its tuner, with a clock of their own."""

    def __init__(self, folder: Path, *, is_automatic: bool = True, target: Target = TARGET):
        self.now = 100.0
        self.load = 0.0
        settings = EngineSettings(num_positions=700, block_size=6)
        self.engine = Engine(Runner(network(True)), VOCABULARY, TOKENIZER, settings)
        self.tuner = Tuner(
            self.engine,
            target,
            is_automatic=is_automatic,
            folder=folder,
            clock=lambda: self.now,
            load=lambda: self.load,
        )

    def finish(self) -> list[Event]:
        """As `sampler.serve.run` does it, without requests."""
        events = []
        for _ in range(3000):
            pause_s = self.tuner.pause_s()
            if pause_s is None:
                return events
            self.now += pause_s
            events += self.tuner.step()
        raise AssertionError("it does not end")


@pytest.fixture(autouse=True)
def _few_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [prompt[:100] for prompt in sample_prompts(VOCABULARY, TOKENIZER)[:2]]
    monkeypatch.setattr(tuner, "sample_prompts", lambda *_: prompts)
    monkeypatch.setattr(measuring, "NUM_ROUNDS", 2)


def test_a_new_machine_is_measured_once_and_used_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    before = bench.engine.settings
    assert bench.tuner.profile is None
    assert bench.tuner.pause_s() == QUIET_S
    assert bench.finish() == [], "nobody has asked"
    kept = read_profile(TARGET, tmp_path)
    assert kept is not None
    assert bench.tuner.profile == kept
    settings = bench.engine.settings
    assert settings.costs_ms == kept.costs_ms != before.costs_ms
    assert settings.acceptance == kept.acceptance
    assert settings.prefill_chunk == choose(kept, settings.max_rows).prefill_chunk
    again = Bench(tmp_path)
    assert again.tuner.pause_s() is None
    assert again.engine.settings.costs_ms == kept.costs_ms
    off = Bench(tmp_path, is_automatic=False)
    assert off.tuner.pause_s() is None
    assert off.engine.settings == before


def test_completions_are_the_same_before_while_and_after(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    hole = read_holes()[0]
    plan = HolePlan("text", "block", 100, "", "", "", "")
    texts = []

    def complete() -> None:
        request = Complete(str(len(texts)), "d", hole.prefix, hole.suffix, plan, max_new_tokens=20)
        assert bench.engine.submit(request) == []
        while bench.engine.has_work:
            bench.tuner.note_work()
            for event in bench.engine.step():
                assert not isinstance(event, Failed), event
                if isinstance(event, Finished):
                    texts.append(event.text)
        bench.engine.cache.clear()
        bench.engine.cache.check_integrity()

    complete()
    for _ in range(20):
        pause_s = bench.tuner.pause_s()
        assert pause_s is not None
        bench.now += pause_s
        bench.tuner.step()
    complete()
    bench.finish()
    assert bench.tuner.profile is not None
    complete()
    assert len(texts) == 3
    assert texts[0]
    assert texts[0] == texts[1] == texts[2]


def test_unasked_measuring_waits_for_a_pause(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.now += QUIET_S - 0.1
    bench.tuner.note_work()
    assert bench.tuner.pause_s() == QUIET_S
    bench.now += QUIET_S
    assert bench.tuner.pause_s() == 0
    bench.tuner.step()
    assert bench.tuner.pause_s() == 0
    bench.tuner.note_work()
    assert bench.tuner.pause_s() == QUIET_S


def test_a_step_is_one_forward(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    while bench.tuner.pause_s() is not None:
        before = bench.engine.runner.num_forwards
        bench.now += QUIET_S
        bench.tuner.step()
        assert bench.engine.runner.num_forwards - before <= 1


def test_a_busy_machine_is_measured_later(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.load = 1.5
    bench.now += QUIET_S
    bench.tuner.step()
    assert bench.tuner.pause_s() == LOOK_PAUSE_S
    assert not any(tmp_path.iterdir())
    bench.load = 0.1
    bench.finish()
    assert bench.tuner.profile is not None
    assert bench.tuner.profile.load == 0.1


def test_a_machine_that_is_always_busy_is_measured_and_again_when_it_is_quiet(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    bench.load = 1.5
    while bench.tuner.profile is None:
        bench.now += bench.tuner.pause_s() or 0.0
        bench.tuner.step()
    assert bench.now >= 100 + PATIENCE_S
    assert bench.tuner.profile.is_doubtful
    later = Bench(tmp_path)  # the next start
    later.load = 1.5
    assert later.tuner.profile == bench.tuner.profile
    before = later.engine.runner.num_forwards
    for _ in range(200):
        pause_s = later.tuner.pause_s()
        assert pause_s is not None
        later.now += pause_s
        later.tuner.step()
    assert later.now >= 100 + PATIENCE_S
    assert later.engine.runner.num_forwards == before, "it has one, so it can wait"
    later.load = 0.1
    later.finish()
    assert not later.tuner.profile.is_doubtful
    assert bench.tuner.pause_s() is not None
    bench.load = 0.1
    bench.finish()
    assert bench.tuner.profile == later.tuner.profile, "taken over"


def test_who_asks_is_told_how_far_it_is_and_what_came_out(tmp_path: Path) -> None:
    bench = Bench(tmp_path, is_automatic=False)
    bench.load = 9.0  # whoever asks wants it now
    assert bench.tuner.ask(Tune("1/q", is_question=True)) == [Tuned("1/q")]
    assert bench.tuner.ask(Tune("1/a")) == [Tuning("1/a", 0.0)]
    assert bench.tuner.pause_s() == 0
    bench.tuner.step()
    bench.tuner.ask(Tune("2/b"))
    events = []
    while bench.tuner.pause_s() is not None:
        bench.now += 0.2
        events += bench.tuner.step()
    *rest, first, second = events
    assert isinstance(first, Tuned)
    assert isinstance(second, Tuned)
    assert [first.request_id, second.request_id] == ["1/a", "2/b"]
    assert first.profile == second.profile == read_profile(TARGET, tmp_path)
    assert first.choice is not None
    assert first.path is not None
    assert Path(first.path).parent == tmp_path
    shares = [event.fraction for event in rest if isinstance(event, Tuning)]
    assert len(shares) == len(rest) > 10
    assert None not in shares
    assert shares == sorted(shares)  # type: ignore[type-var]
    (answer,) = bench.tuner.ask(Tune("1/q", is_question=True))
    assert isinstance(answer, Tuned)
    assert answer.profile == first.profile


def test_the_measurement_ends_with_the_last_who_asked(tmp_path: Path) -> None:
    bench = Bench(tmp_path, is_automatic=False)
    bench.tuner.ask(Tune("1/a"))
    bench.tuner.ask(Tune("2/a"))
    bench.tuner.step()
    bench.tuner.cancel("1/a")
    assert bench.tuner.pause_s() == 0
    bench.tuner.cancel_all("2/")
    assert bench.tuner.pause_s() is None
    FileLock(tmp_path / "measuring.lock").acquire(blocking=False).lock.release()
    automatic = Bench(tmp_path)
    automatic.tuner.ask(Tune("1/a"))
    automatic.tuner.cancel("1/a")
    assert automatic.tuner.pause_s() is not None, "it is wanted all the same"


def test_two_engines_never_measure_at_once(tmp_path: Path) -> None:
    first, second = Bench(tmp_path), Bench(tmp_path)
    first.now += QUIET_S
    first.tuner.step()
    second.now += QUIET_S
    before = second.engine.runner.num_forwards
    assert second.tuner.step() == []
    assert second.tuner.pause_s() == LOOK_PAUSE_S
    second.tuner.ask(Tune("1/a"))
    assert second.tuner.step() == [Tuning("1/a", None)]
    second.tuner.cancel("1/a")
    assert second.engine.runner.num_forwards == before
    first.finish()
    assert second.finish() == []
    assert second.engine.runner.num_forwards == before, "what the first one found is used"
    assert second.tuner.profile == first.tuner.profile


def test_two_engines_of_different_models_take_turns(tmp_path: Path) -> None:
    other = Target("CPU", 2, 2, None, "torch", "another", "none")
    first, second = Bench(tmp_path), Bench(tmp_path, target=other)
    first.now += QUIET_S
    first.tuner.step()
    second.now += QUIET_S
    second.tuner.step()
    assert second.engine.runner.num_forwards == 0
    first.finish()
    second.finish()
    assert second.engine.runner.num_forwards > 0
    assert read_profile(other, tmp_path) is not None


def test_a_failure_leaves_the_engine_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, is_automatic=False)

    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    bench.tuner.ask(Tune("1/a"))
    monkeypatch.setattr(bench.engine.runner, "advance", fail)
    (event,) = bench.finish()
    assert isinstance(event, Failed)
    assert "no room" in event.message
    assert bench.tuner.pause_s() is None
    monkeypatch.undo()
    bench.tuner.ask(Tune("1/b"))
    assert isinstance(bench.finish()[-1], Tuned)


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bench = Bench(tmp_path / "file", is_automatic=False)
    bench.tuner.ask(Tune("1/a"))
    event = bench.finish()[-1]
    assert isinstance(event, Tuned)
    assert event.profile is not None
    assert event.path is None
    assert bench.engine.settings.costs_ms == event.profile.costs_ms


def test_a_target_names_what_decides_the_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w.gguf").write_bytes(b"1")

    def target(**fields: object) -> Target:
        values = {
            "device": torch.device("cpu"),
            "dtype": torch.bfloat16,
            "kernels": "torch",
            "threads": None,
        }
        return describe_target(tmp_path / "w.gguf", None, **{**values, **fields})  # type: ignore[arg-type]

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    plain = target()
    assert "bfloat16" in plain.kernels
    assert plain.threads is None
    assert target(dtype=torch.float32) != plain
    assert target(threads=1).threads == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert target().threads == 3
