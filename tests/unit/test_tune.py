"""Measuring and choosing: pure parts by property, the measurement itself on the debug model."""

import functools
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from lsp_server import tune as command
from model.adapter import Adapter, AdapterConfig
from model.config import NAMED
from model.format.plan import HolePlan
from model.format.tokenizer import Tokenizer
from model.network import Transformer
from sampler import measure as measuring
from sampler import tuner
from sampler.drafting import CUDA_COSTS, LONGEST_BRANCH, NATIVE_COSTS, TORCH_COSTS, choose_layout
from sampler.engine import Engine
from sampler.generation import EngineSettings
from sampler.kernels.cpu import library
from sampler.measure import Measured, Plan, count_hits, estimate, extrapolated, lowered, measure
from sampler.messages import Complete, Event, Failed, Finished, Tune, Tuned, Tuning
from sampler.profile import Profile, Target, read_profile, write_profile
from sampler.runner import Runner
from sampler.sample import cut_holes, read_holes, sample_prompts
from sampler.threads import choose_threads, time_threads
from sampler.tune import CHUNK_LIMIT_MS, choose, choose_chunk, expected_cycle
from sampler.tuner import (
    LOOK_PAUSE_S,
    PATIENCE_S,
    QUIET_S,
    Tuner,
    describe_target,
    prepare_threads,
)
from tests.tiny import tiny_vocabulary

CONFIG = NAMED["debug"]
VOCABULARY = tiny_vocabulary()
TOKENIZER = Tokenizer(VOCABULARY)
TARGET = Target("CPU", 2, 2, None, "torch", "debug", "none")
CHANCE = st.floats(0.01, 0.99)


def profile(**fields: object) -> Profile:
    values = {
        "target": TARGET,
        "measured_at": "2026-11-21T12:00:00+00:00",
        "measured_s": 1.0,
        "threads": 1,
        "costs_ms": NATIVE_COSTS,
        "prefill_ms": ((64, 70.0), (128, 140.0), (256, 280.0)),
        "acceptance": (0.55, 0.5, 0.5),
    }
    return Profile(**{**values, **fields})  # type: ignore[arg-type]


# Choosing


@pytest.mark.parametrize(
    ("prefill_ms", "expected"),
    [
        (((64, 70.0), (128, 130.0), (256, 250.0)), 128),
        (((64, 70.0), (128, 151.0)), 64),
        (((64, 400.0),), 64),
        (((64, 30.0), (128, 70.0), (256, 145.0)), 64),  # the smaller one reads more a second
        (((64, 1.0), (128, 1.1), (256, 1.3)), 256),
    ],
)
def test_chunks_keep_a_cancellation_short(
    prefill_ms: tuple[tuple[int, float], ...], expected: int
) -> None:
    assert choose_chunk(prefill_ms) == expected
    assert expected == 64 or dict(prefill_ms)[expected] <= CHUNK_LIMIT_MS


def test_drafts_pay_where_rows_are_cheap() -> None:
    flat = choose(profile(costs_ms=((1, 20.0), (64, 21.0))), 32)
    assert flat.mode == "exact"
    assert flat.tokens_per_forward > 1.9
    assert flat.exact_tokens_per_s > 1.8 * flat.ar_tokens_per_s == pytest.approx(90.0)
    steep = choose(profile(costs_ms=((1, 20.0), (64, 1280.0))), 32)
    assert steep.layout == (0,)
    assert steep.exact_tokens_per_s == steep.ar_tokens_per_s == 50.0
    assert choose(profile(acceptance=()), 32).tokens_per_forward == 1.0


@given(
    acceptance=st.lists(CHANCE, max_size=LONGEST_BRANCH),
    costs=st.sampled_from([NATIVE_COSTS, TORCH_COSTS, CUDA_COSTS]),
    max_rows=st.integers(1, 40),
)
def test_expectations_are_possible(
    acceptance: list[float], costs: tuple[tuple[int, float], ...], max_rows: int
) -> None:
    tokens, ms, layout = expected_cycle(acceptance, costs, max_rows)
    assert 1.0 <= tokens <= 1 + len(acceptance)
    assert ms >= costs[0][1]
    assert len(layout) + sum(layout) <= max_rows


def test_the_expectation_is_what_a_simulation_gives() -> None:
    acceptance, costs = (0.7, 0.6, 0.5, 0.4), NATIVE_COSTS
    tokens, ms, most_frequent = expected_cycle(acceptance, costs, 32)
    chance = random.Random(0)
    reached = [0.7, 0.42, 0.21, 0.084]
    at_hand, num_tokens, num_forwards, seen = 0, 0, 20_000, dict[tuple[int, ...], int]()
    for _ in range(num_forwards):
        layout = choose_layout(
            acceptance[:at_hand], reached, costs, token_ms=ms / tokens, max_rows=32
        )
        seen[layout] = seen.get(layout, 0) + 1
        end = 0
        while end < len(layout) - 1 and chance.random() < acceptance[end]:
            end += 1
        num_tokens += 1 + end
        at_hand = layout[end]
    assert num_tokens / num_forwards == pytest.approx(tokens, rel=0.02)
    assert max(seen, key=lambda layout: seen[layout]) == most_frequent


def test_what_came_out_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    measured = profile(load=0.9)
    command.show(Tuned("1", measured, choose(measured, 32), "/home/profiles/1.json"))
    told = capsys.readouterr().out
    assert "64 tokens of context in 70 ms, 914 tokens/s" in told
    assert "55% 50% 50%" in told
    assert "suggested mode: exact" in told
    assert "kept /home/profiles/1.json" in told
    assert "busy" in told
    bare = profile(acceptance=())
    command.show(Tuned("1", bare, choose(bare, 32)))
    told = capsys.readouterr().out
    assert "there is no adapter" in told
    assert "kept nowhere" in told
    assert "busy" not in told


def test_layouts_in_words() -> None:
    assert command.describe_layout((0,)) == "1 row: verifies no draft, drafts none"
    assert command.describe_layout((2, 1, 3)) == "9 rows: verifies 2, drafts 2 + 1 + 3 behind"


# What timings and drafts are turned into


def test_a_larger_forward_bounds_the_smaller_ones() -> None:
    assert lowered([(1, 5.0), (2, 9.0), (4, 6.0), (8, 7.0)]) == [
        *[(1, 5.0), (2, 6.0), (4, 6.0), (8, 7.0)]
    ]


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=9))
def test_lowered_curves_rise(times_ms: list[float]) -> None:
    curve = lowered(list(enumerate(times_ms, 1)))
    assert [ms for _, ms in curve] == sorted(ms for _, ms in curve)
    assert all(ms <= before + 1e-3 for (_, ms), before in zip(curve, times_ms, strict=True))


def test_what_was_too_slow_is_extrapolated() -> None:
    assert extrapolated([(64, 100.0)], 128) == 200.0
    assert extrapolated([(1, 10.0), (4, 13.0), (8, 17.0)], 16) == 25.0
    assert extrapolated([(1, 10.0), (8, 9.0)], 16) == 9.0
    assert measuring.completed([(1, 10.0), (8, 17.0)], 64) == ((1, 10.0), (8, 17.0), (64, 73.0))
    assert measuring.completed([(1, 10.0), (64, 17.0)], 64) == ((1, 10.0), (64, 17.0))


def test_drafts_count_up_to_the_first_wrong_one() -> None:
    greedy = [10, 11, 12, 13, 14]
    # The draft behind greedy[i] stands for greedy[i + 2] and what follows it.
    drafted = [[12, 13, 99], [13, 0, 0], [0, 0, 0], [7, 7, 7]]
    assert count_hits(greedy, drafted, 3) == [(2, 3), (1, 2), (0, 1)]


def test_estimates_lean_on_the_place_before() -> None:
    first, second, third = estimate([80, 0, 0], [100, 0, 0])
    assert 0.75 < first < 0.8
    assert second == third == first, "nothing is known of them"
    assert estimate([0] * 2, [1000] * 2)[1] < 0.01
    assert estimate([], []) == ()


def test_forwards_are_mixed_as_the_engine_mixes_them() -> None:
    for num_rows in measuring.ROWS:
        for has_drafts in (False, True):
            sizes = measuring.layout_of(num_rows, has_drafts=has_drafts)
            assert len(sizes) + sum(sizes) == num_rows
            assert has_drafts or not any(sizes)
    assert measuring.layout_of(8, has_drafts=True) == (3, 3)


# The sample


def test_holes_of_the_sample_are_cut_out() -> None:
    holes = read_holes()
    assert len(holes) >= 16
    assert len({hole.prefix[:40] for hole in holes[:4]}) == 4, "one of each file in turn"
    for hole in holes:
        whole = hole.prefix + hole.middle + hole.suffix
        compile(whole, "sample", "exec")
        assert hole.middle.strip()
    for prompt in sample_prompts(VOCABULARY, TOKENIZER):
        assert 0 < len(prompt) <= 512
    with pytest.raises(ValueError, match="pairs"):
        cut_holes("a ⟦b⟧ c ⟧ d ⟦")


# The measurement, on the debug model


@functools.cache
def network(has_adapter: bool) -> Transformer:
    torch.manual_seed(7)
    model = Transformer(CONFIG).eval().requires_grad_(False)
    if has_adapter:
        model.adapter = Adapter(CONFIG, AdapterConfig(4, 8.0)).requires_grad_(False)
        model.adapter.start_mask_at(model.embedding.weight)
    return model


class Time:
    """A clock that moves as a forward would: so much, and a share for each row."""

    def __init__(self, runner: Runner, ms: float = 5.0, ms_per_row: float = 1.0) -> None:
        self.seconds = 0.0
        forward = runner._forward

        def timed(ids_BT: torch.Tensor, *args: object, **fields: object) -> object:
            self.seconds += (ms + ms_per_row * ids_BT.shape[1]) / 1000
            return forward(ids_BT, *args, **fields)  # type: ignore[arg-type]

        runner._forward = timed  # type: ignore[assignment, method-assign]

    def __call__(self) -> float:
        return self.seconds


def run(slices: Iterator[float]) -> tuple[list[float], Measured]:
    shares = []
    while True:
        try:
            shares.append(next(slices))
        except StopIteration as done:
            return shares, done.value


def plan(num_drafts: int = LONGEST_BRANCH, **fields: object) -> Plan:
    prompts = sample_prompts(VOCABULARY, TOKENIZER)[:3]
    return Plan(prompts, VOCABULARY.end_ids, num_drafts, **fields)  # type: ignore[arg-type]


def test_the_measurement_finds_what_forwards_cost() -> None:
    runner = Runner(network(True))
    clock = Time(runner, ms=5.0, ms_per_row=0.5)
    shares, measured = run(measure(runner, plan(), clock))
    assert measured.costs_ms == tuple((rows, 5.0 + 0.5 * rows) for rows in measuring.ROWS)
    assert dict(measured.prefill_ms) == pytest.approx({64: 37.0, 128: 69.0, 256: 133.0})
    assert len(measured.acceptance) == LONGEST_BRANCH
    assert measured.num_judged > 20
    assert measured.spent_s == pytest.approx(clock.seconds)
    assert all(0 <= share <= 1 for share in shares)
    assert len(shares) == runner.num_forwards, "suspended behind each forward"


def test_a_slow_machine_is_measured_within_the_budget() -> None:
    runner = Runner(network(True))
    slowest = 0.0
    clock = Time(runner, ms=60.0, ms_per_row=3.0)
    slices, before = measure(runner, plan(budget_s=10.0), clock), 0.0
    while True:
        try:
            next(slices)
        except StopIteration as done:
            measured = done.value
            break
        slowest, before = max(slowest, clock.seconds - before), clock.seconds
    assert measured.spent_s <= 10.0 + slowest
    assert slowest <= 1.3 * measuring.LONGEST_MS / 1000 or slowest == pytest.approx(0.252)
    assert measured.costs_ms[-1] == (64, pytest.approx(60 + 3 * 64))
    assert measured.prefill_ms == ((64, pytest.approx(252.0)),)


def test_without_an_adapter_only_costs_are_measured() -> None:
    runner = Runner(network(False))
    _, measured = run(measure(runner, plan(num_drafts=0), Time(runner)))
    assert measured.acceptance == ()
    assert measured.num_judged == 0
    assert measured.costs_ms[0] == (1, pytest.approx(6.0))


def test_drafts_are_compared_with_the_base_s_own_text() -> None:
    """What the rows of a chain give beside a branch is what the plain network gives."""
    runner = Runner(network(True))
    prompt = sample_prompts(VOCABULARY, TOKENIZER)[0]
    watch = measuring._Watch(100.0, Time(runner))
    sequence = measuring.CachedSequence(runner.allocate(600))
    slices = measuring._draft_along(runner, sequence, prompt, plan(), watch, 0)
    _, (greedy, drafted) = run(slices)  # type: ignore[arg-type, misc]
    ids = list(prompt)
    for token in greedy:
        logits_V = network(True)(torch.tensor([ids]))[0, -1]
        assert token == int(logits_V.argmax())
        ids.append(token)
    assert len(drafted) == len(greedy) - 1
    assert {len(drafts) for drafts in drafted} == {LONGEST_BRANCH}


# Beside an engine


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


# Threads


def test_fewer_threads_unless_more_are_clearly_faster() -> None:
    assert choose_threads({2: 10.0, 4: 9.9}) == 2
    assert choose_threads({2: 10.0, 4: 8.0}) == 4
    assert choose_threads({2: 10.0, 4: 12.0}) == 2
    assert choose_threads({3: 1.0}) == 3


def test_threads_are_tried_on_a_few_layers() -> None:
    before = torch.get_num_threads()
    for is_native in (False, library.is_available()):
        times_ms = time_threads(CONFIG, (1, 2), is_native=is_native, dtype=torch.float32)
        assert set(times_ms) == {1, 2}
        assert min(times_ms.values()) > 0
    assert torch.get_num_threads() == before


def test_the_number_of_threads_is_that_of_the_profile(tmp_path: Path) -> None:
    before, device = torch.get_num_threads(), torch.device("cpu")
    shared = replace(TARGET, num_cpus=4)
    write_profile(profile(target=shared, threads=before + 3), tmp_path)
    try:
        for target, expected in (
            (TARGET, before),  # each CPU is a core
            (replace(shared, threads=before), before),  # a person has said it
            (shared, before + 3),
        ):
            prepare_threads(target, device, torch.float32, tmp_path)
            assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


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
