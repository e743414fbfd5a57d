"""The engine on the GPU's forwards, eagerly on a CPU, against the engine on the plain network."""

import gc
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.masks import Branches
from tests.interpreter import DEVICE

pytest.importorskip("triton")
from sampler.cuda.kernel_set import TWINS
from sampler.cuda.runner import GRAPH_ROWS, GraphRunner, KernelError
from sampler.drafting import CUDA_COSTS
from sampler.engine import Engine
from sampler.forward import Forward
from sampler.generation import EngineSettings
from sampler.kv_cache import CachedSequence
from sampler.policy import UnmaskPolicy
from sampler.runner import Runner
from tests.property.test_engine import MODES, TEXT, TOKENIZER, VOCABULARY, ask, complete, model
from tests.property.test_sharing import run, some_requests

NETWORK, UNCOUPLED = (model(True, coupling_rank=rank).to(DEVICE) for rank in (5, 0))
LONG = "def f(a):\n" * 30
LONG_CONTEXT = [3, 14, 15, 92, 65, 35, 89, 79, 32, 38]


def make_engine(is_graph, **fields):
    fields = {"num_positions": 400, "prefill_chunk": 100, "block_size": 6, **fields}
    chosen = EngineSettings(costs_ms=CUDA_COSTS, **fields)
    runner = (
        GraphRunner(NETWORK, num_sequences=chosen.num_sequences, num_positions=400)
        if is_graph
        else Runner(NETWORK)
    )
    return Engine(runner, VOCABULARY, TOKENIZER, chosen)


@settings(max_examples=15, deadline=None)
@given(
    prefix=TEXT,
    suffix=TEXT,
    is_long=st.booleans(),
    mode=st.sampled_from(MODES),
    policy=st.sampled_from([UnmaskPolicy(), UnmaskPolicy("entropy_bound")]),
)
def test_the_engine_gives_the_same_text(prefix, suffix, is_long, mode, policy):
    request = ask(LONG + prefix if is_long else prefix, suffix, mode)
    found, expected = (
        complete(make_engine(is_graph, policy=policy), request) for is_graph in (True, False)
    )
    assert (found.text, found.stop, found.stats.forwards) == (
        expected.text,
        expected.stop,
        expected.stats.forwards,
    )


def test_sequences_are_kept_apart():
    engine = make_engine(True, num_sequences=2)
    requests = [ask(LONG, ""), ask("ab = (", "\n"), ask(LONG + "ab", "")]
    texts = [complete(engine, request).text for request in requests]
    again = [complete(engine, request).text for request in requests]
    assert again == texts == [complete(make_engine(False), request).text for request in requests]


@settings(max_examples=10, deadline=None)
@given(requests=some_requests(), starts=st.lists(st.integers(0, 12), min_size=4, max_size=4))
def test_requests_that_share_launches_get_the_text_they_get_alone(requests, starts):
    together = run(make_engine(True), requests, starts[: len(requests)])
    for request in requests:
        (alone,) = run(make_engine(False), [request], [0]).values()
        found = together[request.request_id]
        assert (found.text, found.stop) == (alone.text, alone.stop)


def test_requests_share_launches():
    requests = [
        replace(ask(f"{name}(a)\n" * 9, ""), request_id=name, document=name) for name in "ab"
    ]
    engines = [make_engine(True) for _ in range(3)]
    for engine, some in zip(engines, (requests[:1], requests[1:], requests), strict=True):
        run(engine, some, [0] * len(some))
    first, second, both = (engine.runner.num_forwards for engine in engines)
    assert both <= max(first, second) + 3


@torch.inference_mode()
def test_judgments_are_those_of_the_network():
    graph = GraphRunner(UNCOUPLED, num_sequences=1, num_positions=300)
    sequences = [CachedSequence(runner.allocate(300)) for runner in (graph, Runner(UNCOUPLED))]
    context = torch.randint(0, 500, (130,)).tolist()
    for num_rows in (1, 2, 40, 64, 65, 130):
        results = []
        for runner, sequence in zip((graph, Runner(UNCOUPLED)), sequences, strict=True):
            sequence.truncate(0)
            results.append(runner.advance(sequence, context[:num_rows], needs_logits=True))
            sequence.extend(context[:num_rows])
            results[-1].logits.cpu()
            results.append(runner.advance(sequence, [3, 4, 5], (2, 0, 3), needs_logits=True))
        for found, expected in zip(results[:2], results[2:], strict=True):
            assert found.tokens_L.tolist() == expected.tokens_L.tolist()
            torch.testing.assert_close(
                found.confidence_L, expected.confidence_L.cpu(), atol=1e-4, rtol=0
            )
            torch.testing.assert_close(found.logits, expected.logits.cpu(), atol=1e-2, rtol=0)


@torch.inference_mode()
def test_branches_are_coupled_as_the_network_couples_them():
    num_changed = 0
    for num_rows, sizes in (
        (3, (2, 0, 3)),
        (5, (0, 0, 7, 1, 4)),
        (1, (9,)),
        (90, (0,) * 87 + (5, 2, 6)),
    ):
        chain = torch.randint(0, 500, (num_rows,)).tolist()
        num_judged = min(num_rows, 3)
        judgments = []
        for runner in (GraphRunner(NETWORK, num_sequences=1, num_positions=300), Runner(NETWORK)):
            sequence = CachedSequence(runner.allocate(300))
            runner.advance(sequence, LONG_CONTEXT)
            sequence.extend(LONG_CONTEXT)
            judgments.append(runner.advance(sequence, chain, sizes, num_judged=num_judged))
        found, expected = judgments
        assert found.candidates is None, "nothing is left to be coupled"
        assert found.tokens[:num_judged] == expected.tokens[:num_judged]
        for index in range(num_rows - num_judged, num_rows):
            branch, row = Branches(sizes).branch(index), index - (num_rows - num_judged)
            rows = slice(branch.start - num_rows + num_judged, branch.stop - num_rows + num_judged)
            tokens, probabilities = NETWORK.couple(
                expected.candidates.rows(rows), expected.tokens[row]
            )
            assert found.tokens[rows] == tokens
            assert found.confidences[rows] == pytest.approx(probabilities, rel=1e-3)
            num_changed += tokens != expected.tokens[rows]
    assert num_changed, "the coupling makes a difference"


def forwards_behind_contexts(runner, *shapes):
    """Forwards of `(length, chain, sizes, num_judged)`, each of a sequence of its own."""
    forwards = []
    for index, (length, num_chain, sizes, num_judged) in enumerate(shapes):
        ids = torch.randint(0, 500, (length + num_chain,), generator=torch.manual_seed(index))
        context, chain = ids[:length].tolist(), ids[length:].tolist()
        sequence = CachedSequence(runner.allocate(300))
        runner.advance(sequence, context, num_judged=0)
        sequence.extend(context)
        forwards.append(Forward(sequence, chain, sizes, num_judged, needs_logits=index == 2))
    return forwards


@pytest.mark.parametrize(
    "shapes",
    [
        [(20, 3, (2, 0, 4), None), (250, 5, (), 2)],
        [(1, 1, (), None), (130, 4, (3, 1, 0, 5), 4), (77, 6, (0, 0, 0, 0, 0, 7), 1)],
        [(200, 16, (), 0), (3, 2, (7, 7), None), (40, 4, (2, 3, 2, 1), None), (40, 1, (15,), 1)],
    ],
    ids=["two", "three", "four"],
)
@torch.inference_mode()
def test_forwards_together_are_those_of_each_alone(shapes):
    runner = GraphRunner(NETWORK, num_sequences=4, num_positions=300)
    assert runner.most_shared_rows == GRAPH_ROWS[-1]
    forwards = forwards_behind_contexts(runner, *shapes)
    before = runner.num_forwards
    judgments = runner.advance_together(forwards)
    assert runner.num_forwards == before + 1
    kept = [forward.sequence.kv.keys[1].clone() for forward in forwards]
    for forward, found, keys in zip(forwards, judgments, kept, strict=True):
        (expected,) = runner.advance_together([forward])
        assert found.tokens == expected.tokens
        torch.testing.assert_close(found.confidence_L, expected.confidence_L, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.shares_L, expected.shares_L, atol=1e-5, rtol=1e-4)
        assert (found.logits_LV is None) == (expected.logits_LV is None)
        if found.logits_LV is not None:
            torch.testing.assert_close(found.logits, expected.logits, atol=1e-3, rtol=0)
        end = len(forward.sequence.tokens) + len(forward.chain)
        own = forward.sequence.kv.keys[1][:, :, :end]
        torch.testing.assert_close(keys[:, :, :end], own, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_what_does_not_fit_one_launch_takes_several():
    runner = GraphRunner(NETWORK, num_sequences=5, num_positions=300)
    one = (9, 2, (3, 3), None)
    for shapes, num_launches in (
        ([one] * 5, 2),
        ([one, (9, 60, (), None), one], 3),
        ([(9, 30, (), None)] * 3, 2),
        ([one, one, (9, 80, (0,) * 78 + (2, 3), 2), one], 3),
    ):
        forwards = forwards_behind_contexts(runner, *shapes)
        before = runner.num_forwards
        found = runner.advance_together(forwards)
        assert runner.num_forwards == before + num_launches
        alone = [
            runner.advance(each.sequence, each.chain, each.sizes, num_judged=each.num_judged)
            for each in forwards
        ]
        assert [each.tokens for each in found] == [each.tokens for each in alone]
        with pytest.raises(AssertionError, match="twice"):
            runner.advance_together(forwards[:1] * 2)
        del forwards
        gc.collect()


@torch.inference_mode()
def test_the_likeliest_tokens_are_those_of_the_network():
    found, expected = (
        runner.advance_together(
            [
                replace(forward, needs_candidates=index == 1)
                for index, forward in enumerate(
                    forwards_behind_contexts(runner, (9, 2, (3, 3), None), (7, 3, (), None))
                )
            ]
        )[1]
        for runner in (GraphRunner(NETWORK, num_sequences=2, num_positions=300), Runner(NETWORK))
    )
    for row in range(3):
        (ids_K, log_p_K), (other_ids_K, other_log_p_K) = (
            judgment.likeliest(row) for judgment in (found, expected)
        )
        assert ids_K.tolist() == other_ids_K.tolist()
        torch.testing.assert_close(log_p_K, other_log_p_K.cpu(), atol=1e-3, rtol=0)


def test_a_sequence_that_nobody_holds_is_free_again():
    runner = GraphRunner(NETWORK, num_sequences=2, num_positions=50)
    first, second = runner.allocate(50), runner.allocate(20)
    assert first.index != second.index
    with pytest.raises(AssertionError, match="in use"):
        runner.allocate(50)
    freed = first.index
    del first
    gc.collect()
    assert runner.allocate(50).index == freed


def test_all_forwards_can_be_captured_ahead():
    runner = GraphRunner(NETWORK, num_sequences=1, num_positions=300)
    runner.warm_up()
    assert runner.num_forwards == 0
    assert len(runner._graphs) in (0, 2 * (2 * len(GRAPH_ROWS) - 1))  # a CPU captures nothing


def test_kernels_prove_themselves_before_they_are_used():
    GraphRunner(NETWORK, num_sequences=1, num_positions=300).prove()

    def wrong(queries, *rest):
        return 2.0 * TWINS.attention(queries, *rest)

    kernels = replace(TWINS, attention=wrong)
    with pytest.raises(KernelError, match="away from the network"):
        GraphRunner(NETWORK, num_sequences=1, num_positions=300, kernels=kernels).prove()
