"""The engine over a network whose context rows leave early."""

import functools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.adapter import Adapter, AdapterConfig
from model.config import NAMED
from model.early import EarlyKV
from model.format.plan import HolePlan
from model.format.tokenizer import Tokenizer
from model.network import Transformer
from sampler.engine import Engine
from sampler.generation import FEWEST_EARLY, EngineSettings
from sampler.kernels.cpu import library
from sampler.kernels.cpu.native import NativeModel
from sampler.messages import Complete, Finished
from sampler.runner import Runner
from tests.tiny import tiny_vocabulary

CONFIG = replace(NAMED["debug"], num_layers=4)
VOCABULARY = tiny_vocabulary()
TOKENIZER = Tokenizer(VOCABULARY)
END_IDS = VOCABULARY.end_ids | VOCABULARY.special_ids
ANYTHING = HolePlan("text", "block", 100, "", "", "", "")
TEXT = st.text("ab (\n):=é😀", min_size=20, max_size=90)
KERNELS = ["torch", "native"] if library.is_available() else ["torch"]


@functools.cache
def model(kernels, has_early=True):
    torch.manual_seed(7)
    network = Transformer(CONFIG).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.mul_(3.0) if parameter.dim() > 1 else None
    network.head.weight[sorted(END_IDS)] *= 0.2  # small: long completions
    network.adapter = Adapter(CONFIG, AdapterConfig(4, 8.0, coupling_rank=5)).requires_grad_(False)
    network.adapter.start_mask_at(network.embedding.weight)
    network.adapter.randomize()
    if has_early:
        network.early = EarlyKV(CONFIG, 2).requires_grad_(False)
        network.early.weight.normal_(std=0.3)
        network.early.bias.normal_()
    return network if kernels == "torch" else NativeModel(network, threads=2)


class Noting(Runner):
    """Notes of each forward how many rows it has and how many of them leave."""

    def __init__(self, network):
        super().__init__(network)
        self.forwards = []

    def advance_together(self, forwards, **how):
        self.forwards += [(len(forward.chain), forward.num_early) for forward in forwards]
        return super().advance_together(forwards, **how)


def make_engine(kernels, has_early=True):
    fields = EngineSettings(num_positions=400, prefill_chunk=32, block_size=6)
    return Engine(Noting(model(kernels, has_early)), VOCABULARY, TOKENIZER, fields)


def complete(engine, prefix, suffix, mode):
    assert engine.submit(Complete("1", "d", prefix, suffix, ANYTHING, mode=mode)) == []
    events = []
    while engine.has_work:
        events += engine.step()
    assert isinstance(events[-1], Finished)
    return events[-1]


@pytest.mark.parametrize("kernels", KERNELS)
@settings(max_examples=25, deadline=None)
@given(prefix=TEXT, suffix=TEXT)
def test_exact_is_ar(kernels, prefix, suffix):
    drafted = complete(make_engine(kernels), prefix, suffix, "exact")
    plain = complete(make_engine(kernels), prefix, suffix, "ar")
    assert (drafted.text, drafted.stop) == (plain.text, plain.stop)
    assert drafted.stats.tokens == plain.stats.tokens


def test_what_is_read_leaves_and_what_is_judged_or_typed_does_not():
    engine = make_engine("torch")
    runner, text = engine.runner, "ab = (b)\n" * 12
    complete(engine, text, text, "exact")
    reading = [forward for forward in runner.forwards if forward[1]]
    assert len(reading) >= 2
    assert all(num_rows == num_early == 32 for num_rows, num_early in reading[:-1])
    num_rows, num_early = runner.forwards[len(reading) - 1 + (reading[-1][0] == reading[-1][1])]
    assert num_early < num_rows  # rows at the end are judged
    assert num_early == 0 or num_early >= FEWEST_EARLY
    runner.forwards.clear()
    complete(engine, text + "a", text, "exact")
    # The text behind the hole comes first, so what is typed comes last: little is read again.
    assert all(num_early == 0 for _, num_early in runner.forwards)


def test_without_a_map_texts_are_those_of_the_whole_network():
    text = "ab = (b)\n" * 12
    whole = complete(make_engine("torch", has_early=False), text, text, "exact")
    early = complete(make_engine("torch"), text, text, "exact")
    assert whole.text != early.text  # a random map is a bad one
