"""The engine against the reference sampler, on the debug model with a random adapter."""

import copy
import functools
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from model.adapter import Adapter, AdapterConfig
from model.config import NAMED
from model.format.healing import Continuations, split_word
from model.format.plan import HolePlan
from model.format.prompt import render
from model.format.tokenizer import Tokenizer
from model.network import Transformer
from sampler.denoise import generate
from sampler.drafting import CUDA_COSTS, NATIVE_COSTS, TORCH_COSTS
from sampler.engine import Engine
from sampler.generation import EngineSettings
from sampler.kernels.cpu import library
from sampler.kernels.cpu.native import NativeModel
from sampler.messages import BlockCommitted, Complete, Failed, Finished
from sampler.output import Output
from sampler.policy import UnmaskPolicy
from sampler.runner import Runner
from tests.tiny import tiny_vocabulary

CONFIG = NAMED["debug"]
VOCABULARY = tiny_vocabulary()
TOKENIZER = Tokenizer(VOCABULARY)
CONTINUATIONS = Continuations(VOCABULARY, TOKENIZER)
END_IDS = VOCABULARY.end_ids | VOCABULARY.special_ids
ANYTHING = HolePlan("text", "block", 100, "", "", "", "")
MODES = ["ar", "exact", "balanced", "fast", "diffusion"]
TEXT = st.text("ab (\n):=é😀", max_size=40)


@functools.cache
def model(has_adapter, end_scale=0.2, coupling_rank=5):
    torch.manual_seed(7)
    network = Transformer(CONFIG).eval().requires_grad_(False)
    for parameter in network.parameters():
        # Large weights: sharp logits without near ties, so that rounding decides nothing.
        parameter.mul_(3.0) if parameter.dim() > 1 else None
    network.head.weight[sorted(END_IDS)] *= end_scale  # small: long completions
    if has_adapter:
        config = AdapterConfig(4, 8.0, coupling_rank=coupling_rank)
        network.adapter = Adapter(CONFIG, config).requires_grad_(False)
        network.adapter.start_mask_at(network.embedding.weight)
        network.adapter.randomize()
    return network


@functools.cache
def native_model(path):
    return NativeModel(copy.deepcopy(model(True)), threads=2, path=path)


def make_engine(has_adapter=True, end_scale=0.2, **fields):
    fields = {"num_positions": 400, "prefill_chunk": 16, "block_size": 6, **fields}
    # Rows that cost nothing are all taken, as the reference takes them.
    fields = {"costs_ms": ((1, 1.0),), "max_rows": 99, **fields}
    return Engine(
        Runner(model(has_adapter, end_scale)), VOCABULARY, TOKENIZER, EngineSettings(**fields)
    )


def complete(engine, request):
    """Run one request to its end; checks that the blocks add up to the text."""
    assert engine.submit(request) == []
    events = []
    while engine.has_work:
        events += engine.step()
    engine.cache.check_integrity()
    *blocks, last = events
    assert isinstance(last, Finished), last
    assert "".join(block.text for block in blocks) == last.text
    return last


def ask(prefix, suffix, mode="exact", max_new_tokens=30, **fields):
    return Complete(
        "1", "d", prefix, suffix, ANYTHING, mode=mode, max_new_tokens=max_new_tokens, **fields
    )


def reference(request, policy, max_steps, has_adapter=True):
    """Tokens of the reference sampler and the text that they make."""
    prefix_ids, required = split_word(TOKENIZER, TOKENIZER.encode(request.prefix))
    context = render(request.layout, VOCABULARY.fim, prefix_ids, TOKENIZER.encode(request.suffix))
    result = generate(
        model(has_adapter),
        context,
        mode=request.mode,
        block_size=6,
        max_new_tokens=request.max_new_tokens,
        end_ids=END_IDS,
        policy=policy,
        max_steps=max_steps,
        delta=EngineSettings.fast_delta if request.mode == "fast" else EngineSettings.delta,
        required=required.encode(),
        continuations=CONTINUATIONS,
    )
    output = Output(TOKENIZER, END_IDS, request.plan, request.max_new_tokens)
    output.required = required
    for token in result.tokens:
        if output.stop is None:
            output.push([token])
    return output


@settings(max_examples=40, deadline=None)
@given(
    prefix=TEXT,
    suffix=TEXT,
    mode=st.sampled_from(MODES),
    layout=st.sampled_from(["spm", "psm"]),
    policy=st.sampled_from(
        [UnmaskPolicy(), UnmaskPolicy("top_k", count=2), UnmaskPolicy(order_window=2)]
    ),
    max_steps=st.integers(1, 4),
)
def test_the_engine_gives_the_text_of_the_reference(
    prefix, suffix, mode, layout, policy, max_steps
):
    request = ask(prefix, suffix, mode, layout=layout)
    # What is proposed decides the text of `balanced` and `fast`, and the reference copies nothing.
    engine = make_engine(policy=policy, max_steps=max_steps, has_lookup=False)
    expected = reference(request, policy, max_steps)
    finished = complete(engine, request)
    assert finished.text == expected.shown
    assert finished.stop == expected.stop
    assert finished.stats.tokens == expected.num_tokens


@settings(max_examples=40, deadline=None)
@given(
    prefix=TEXT,
    suffix=TEXT,
    has_adapter=st.booleans(),
    has_lookup=st.booleans(),
    block_size=st.integers(1, 9),
    max_rows=st.integers(1, 40),
    costs_ms=st.sampled_from([NATIVE_COSTS, TORCH_COSTS, CUDA_COSTS]),
)
def test_exact_is_ar_whatever_is_proposed(
    prefix, suffix, has_adapter, has_lookup, block_size, max_rows, costs_ms
):
    engine = make_engine(
        has_adapter,
        block_size=block_size,
        has_lookup=has_lookup,
        max_rows=max_rows,
        costs_ms=costs_ms,
    )
    exact = complete(engine, ask(prefix, suffix, "exact"))
    plain = complete(make_engine(has_adapter), ask(prefix, suffix, "ar"))
    assert (exact.text, exact.stop, exact.stats.tokens) == (
        plain.text,
        plain.stop,
        plain.stats.tokens,
    )


@settings(max_examples=20, deadline=None)
@given(prefix=TEXT, old_code=TEXT, mode=st.sampled_from(MODES))
def test_old_code_changes_no_text_of_exact_and_edits_are_exact(prefix, old_code, mode):
    with_it = complete(make_engine(), ask(prefix, "", mode, old_code=old_code))
    without = complete(make_engine(), ask(prefix, "", "exact"))
    assert old_code == "" or with_it.text == without.text
    assert with_it.stats.denoising_steps == 0 or old_code == ""


@settings(max_examples=20, deadline=None)
@given(prefix=TEXT, mode=st.sampled_from(MODES[1:]))
@example(prefix=":é", mode="fast")  # the old code is empty there
def test_old_code_that_is_refused_is_left_in_the_same_place_in_all_modes(prefix, mode):
    plain = complete(make_engine(end_scale=1.3), ask(prefix, "", "ar"))
    refused = {"old_code": plain.text, "must_change": True}
    expected = complete(make_engine(end_scale=1.3), ask(prefix, "", "ar", **refused))
    engine = make_engine(end_scale=1.3)
    for _ in range(2):  # the second time from the cache
        answer = complete(engine, ask(prefix, "", mode, **refused))
        assert (answer.text, answer.stop) == (expected.text, expected.stop)
    if plain.stop == "end_of_hole" and plain.text.strip():
        # Kept where there is no second token to leave it at: that costs nothing more.
        is_kept = expected.text == plain.text
        event("kept" if is_kept else "refused")
        assert is_kept or expected.stats.forwards > plain.stats.forwards


def test_an_answer_that_is_the_old_code_takes_few_forwards():
    plain = complete(make_engine(), ask("ab", "", "ar", max_new_tokens=60))
    request = ask("ab", "", max_new_tokens=60, old_code=plain.text)
    copied = complete(make_engine(has_lookup=True), request)
    alone = complete(make_engine(), ask("ab", "", max_new_tokens=60))
    assert copied.text == plain.text
    # Random text is tokenized another way than it was generated, so not all of it is guessed.
    assert copied.stats.forwards < 0.7 * alone.stats.forwards


@settings(max_examples=20, deadline=None)
@given(prefix=TEXT, suffix=TEXT)
def test_one_forward_verifies_and_drafts(prefix, suffix):
    """What is not accepted costs nothing: with no draft right there is a token a forward."""
    stats = complete(make_engine(has_lookup=False), ask(prefix, suffix, "exact")).stats
    assert stats.denoising_steps == 0
    assert stats.forwards <= stats.tokens + 1
    assert len(stats.accepted) <= stats.forwards


def test_the_properties_above_see_real_text():
    """Guards against a debug model that ends every hole at once."""
    lengths = [
        complete(make_engine(), ask("a" * n, "b", "exact")).stats.tokens for n in range(1, 11)
    ]
    assert sum(lengths) > 100


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(st.tuples(TEXT, TEXT, st.sampled_from(["ar", "exact"])), max_size=6))
def test_a_warm_cache_never_changes_a_result(texts):
    warm = make_engine(num_sequences=2)
    for prefix, suffix, mode in texts:
        request = ask(prefix, suffix, mode)
        assert complete(warm, request).text == complete(make_engine(), request).text


def test_the_same_request_again_costs_no_forward():
    for has_adapter in (True, False):
        engine = make_engine(has_adapter)
        first = complete(engine, ask("def f(a):\n", "\nend"))
        before = engine.runner.num_forwards
        again = complete(engine, ask("def f(a):\n", "\nend"))
        assert again.text == first.text
        assert again.stats.prefill_tokens == 0
        # All but the last, possibly partly accepted, block comes from the cache.
        assert engine.runner.num_forwards - before <= 1
    assert again.stats.forwards <= 1


def test_typing_recomputes_the_tail_only():
    engine = make_engine()
    prefix, suffix = "ab = (a)\n" * 8, "\n" + "b = a\n" * 8
    complete(engine, ask(prefix, suffix))
    typed = complete(engine, ask(prefix + "r", suffix))
    assert typed.stats.prefill_tokens <= 8
    erased = complete(engine, ask(prefix[:-1], suffix))
    assert erased.stats.prefill_tokens <= 8


@pytest.mark.parametrize("mode", MODES)
def test_what_was_read_ahead_is_not_computed_again(mode):
    engine = make_engine()
    prefix, suffix = "ab = (a)\n" * 8, "\n" + "b = a\n" * 8
    read = replace(ask(prefix, suffix, mode, 0), request_id="0", is_ahead=True)
    finished = complete(engine, read)
    assert (finished.text, finished.stop, finished.stats.tokens) == ("", "limit", 0)
    assert finished.stats.prefill_tokens > 80
    assert complete(engine, read).stats.prefill_tokens == 0
    assert engine.context_tokens == 0, "nobody has waited for it"
    text = complete(engine, ask(prefix + "r", suffix, mode))
    assert text.stats.prefill_tokens <= 8
    assert text.text == complete(make_engine(), ask(prefix + "r", suffix, mode)).text
    engine.cache.check_integrity()


def test_a_seeded_draft_is_verified_even_in_mode_fast():
    text = "abcabcabcabc"
    expected = complete(make_engine(has_adapter=False), ask(text, "", "ar")).text
    for mode in MODES[1:]:
        assert complete(make_engine(has_adapter=False), ask(text, "", mode)).text == expected


@pytest.mark.parametrize("num_steps_before", range(8))
def test_after_cancel_no_forward_starts(num_steps_before):
    engine = make_engine()
    engine.submit(ask("a" * 60, "b" * 20))
    for _ in range(num_steps_before):
        engine.step()
    before = engine.runner.num_forwards
    engine.cancel("1")
    while engine.has_work:
        engine.step()
    assert engine.step() == []
    assert engine.runner.num_forwards == before
    engine.cache.check_integrity()
    request = ask("a" * 60, "b" * 20)
    assert complete(engine, request).text == complete(make_engine(), request).text


@pytest.mark.skipif(not library.is_available(), reason="the native kernels are not built")
@settings(max_examples=20, deadline=None)
@given(prefix=TEXT, suffix=TEXT, mode=st.sampled_from(MODES), moments=st.sets(st.integers(0, 30)))
def test_what_was_interrupted_is_computed_again(prefix, suffix, mode, moments):
    """A command that has nothing to do with a request may come at the wrong moment."""
    runner, fields = Runner(native_model("")), {"prefill_chunk": 16, "num_positions": 400}
    engine = Engine(runner, VOCABULARY, TOKENIZER, EngineSettings(**fields))
    request = ask(prefix, suffix, mode)
    expected = complete(engine, request)
    engine.cache.clear()
    engine.submit(request)
    events, number = [], 0
    while engine.has_work:
        if number in moments:
            runner.interrupt()
        events += engine.step()
        engine.end_interrupt()
        number += 1
    assert (events[-1].text, events[-1].stop) == (expected.text, expected.stop)
    engine.cache.check_integrity()


@pytest.mark.parametrize("document", ["d", "e"])
def test_only_a_forward_that_nobody_needs_is_interrupted(monkeypatch, document):
    engine = make_engine()
    newer = replace(ask("a", "c"), request_id="2", document=document)
    judge, interrupted, seen = engine.runner.advance_together, [], set()

    def advance(forwards, *, may_interrupt):
        del interrupted[:]
        engine.interrupt(newer.supersedes)
        is_reading = any(forward.num_early for forward in forwards)
        seen.add((is_reading, may_interrupt, len(interrupted)))
        return judge(forwards)

    monkeypatch.setattr(engine.runner, "advance_together", advance)
    monkeypatch.setattr(engine.runner, "interrupt", lambda: interrupted.append(True))
    complete(engine, ask("a" * 60, "b" * 20))
    assert seen == {(True, False, 0), (False, True, int(document == "d"))}
    del interrupted[:]
    engine.interrupt(newer.supersedes)
    assert interrupted == [], "nothing runs"


def test_a_newer_request_for_a_document_supersedes_the_older():
    engine = make_engine()
    engine.submit(ask("a", ""))
    engine.step()
    newer = Complete("2", "d", "b", "", ANYTHING)
    other = Complete("3", "e", "b", "", ANYTHING)
    (failed,) = engine.submit(newer)
    assert isinstance(failed, Failed)
    assert failed.request_id == "1"
    assert engine.submit(other) == []
    events = []
    while engine.has_work:
        events += engine.step()
    assert {event.request_id for event in events} == {"2", "3"}


def test_a_spent_budget_gives_the_best_text_so_far():
    engine = make_engine()
    finished = complete(engine, ask("a" * 60, "", budget_ms=0.0))
    assert (finished.text, finished.stop) == ("", "budget")
    assert finished.stats.prefill_tokens == 0

    engine.submit(ask("a" * 60, "", "ar", max_new_tokens=200, budget_ms=60.0))
    events = []
    while not any(isinstance(event, BlockCommitted) for event in events):
        events += engine.step()
    time.sleep(0.06)
    while engine.has_work:
        events += engine.step()
    assert events[-1].stop == "budget"
    assert events[-1].text


def test_long_texts_are_cut_to_the_window():
    engine = make_engine(num_positions=120)
    finished = complete(engine, ask("é😀(" * 3000, "é😀(" * 3000, max_new_tokens=50))
    assert finished.stats.prefill_tokens <= 120 - 50 - 6


def test_impossible_requests_fail_in_one_sentence():
    engine = make_engine()
    engine.submit(ask("a", "", max_new_tokens=10_000))
    (failed,) = engine.step()
    assert "too many for a context window" in failed.message
    engine.submit(ask("a", "", layout="nonsense"))
    (failed,) = engine.step()
    assert "psm" in failed.message
    assert complete(engine, ask("a", "")).text is not None


@pytest.mark.skipif(not library.is_available(), reason="the native kernels are not built")
@settings(max_examples=25, deadline=None)
@given(
    prefix=TEXT,
    suffix=TEXT,
    path=st.sampled_from(library.paths() if library.is_available() else [""]),
    block_size=st.integers(2, 9),
    policy=st.sampled_from(
        [UnmaskPolicy(), UnmaskPolicy("top_k", count=2), UnmaskPolicy("entropy_bound")]
    ),
)
def test_exact_is_ar_natively_whatever_the_block(prefix, suffix, path, block_size, policy):
    """No near tie can tell them apart: a row has the same logits in every block."""

    def engine():
        fields = EngineSettings(
            num_positions=400, prefill_chunk=16, block_size=block_size, policy=policy
        )
        return Engine(Runner(native_model(path)), VOCABULARY, TOKENIZER, fields)

    expected = complete(engine(), ask(prefix, suffix, "ar"))
    finished = complete(engine(), ask(prefix, suffix, "exact"))
    assert finished.text == expected.text
    assert finished.stop == expected.stop
    for mode in MODES[2:]:
        assert complete(engine(), ask(prefix, suffix, mode)).text is not None
