"""Figures along a run, against what the sampler does."""

from itertools import takewhile

import pytest
import torch

from model.adapter import Adapter, AdapterConfig
from model.config import NAMED
from model.network import Transformer
from model.noise import seeded_generator
from sampler.denoise import block_mask
from training.batch import draw_starts
from training.held_out import Acceptance, endings
from training.stages import TrainingRecord

CONFIG = NAMED["debug"]
SPECIAL = torch.tensor([510, 511])


def network(*, has_adapter, coupling_rank=0):
    torch.manual_seed(5)
    model = Transformer(CONFIG).eval()
    if has_adapter:
        adapter = Adapter(CONFIG, AdapterConfig(4, 8.0, coupling_rank=coupling_rank))
        adapter.start_mask_at(model.embedding.weight)
        adapter.randomize()
        model.adapter = adapter
    return model


def records(count):
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, 500, (count, 40), generator=generator)
    ids[:, -1] = SPECIAL[1]
    return [TrainingRecord(row, 20, SPECIAL) for row in ids]


def greedy(model, tokens, count):
    for _ in range(count):
        tokens = [*tokens, int(model(torch.tensor([tokens]))[0, -1].argmax())]
    return tokens[-count:]


def drafted(model, tokens, block_size):
    """Without a cache, by the reference sampler's mask."""
    ids_T = torch.tensor(tokens + [CONFIG.mask_id] * (block_size - 1))
    logits_BTV = model(
        ids_T[None],
        attention=block_mask(len(tokens) - 1, block_size),
        gate_BT=(ids_T == CONFIG.mask_id)[None],
    )
    return logits_BTV[0, len(tokens) - 1 : -1].argmax(-1).tolist()


def test_acceptance_is_that_of_the_reference():
    model, held_out = network(has_adapter=True), records(2)
    evaluate = Acceptance(held_out, max_tokens=40, block_size=5, blocks_per_record=6)
    figures = evaluate(model)
    accepted = []
    for index, record in enumerate(held_out):
        generator = seeded_generator(0, index)
        starts = set(draw_starts(record.ids_S, 20, SPECIAL, 6, 5, generator).tolist())
        for start in starts:
            tokens = record.ids_S[: start + 1].tolist()
            pairs = zip(drafted(model, tokens, 5), greedy(model, tokens, 4), strict=True)
            accepted.append(sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)))
    assert figures["accepted"] == pytest.approx(sum(accepted) / len(accepted))
    assert figures["right_1"] == 1  # the first draft is the base's own
    assert evaluate(model) == figures


def test_a_coupling_is_counted_beside_what_rows_say_alone():
    plain = Acceptance(records(2), max_tokens=40, block_size=5, blocks_per_record=6)(
        network(has_adapter=True)
    )
    coupled = Acceptance(records(2), max_tokens=40, block_size=5, blocks_per_record=6)(
        network(has_adapter=True, coupling_rank=4)
    )
    assert "accepted_alone" not in plain
    assert coupled["accepted_alone"] >= 1
    assert coupled["accepted"] >= 1


def test_a_network_without_an_adapter_has_its_first_draft_accepted():
    figures = Acceptance(records(1), max_tokens=40, block_size=4, blocks_per_record=4)(
        network(has_adapter=False)
    )
    assert figures["right_1"] == 1


def test_endings_are_those_of_single_rows():
    model, held_out = network(has_adapter=False), records(3)
    figures = endings(model, held_out)
    nats = []
    for record in held_out:
        log_p_TV = model(record.ids_S[None])[0].log_softmax(-1)
        nats += [-float(log_p_TV[i - 1, record.ids_S[i]].detach()) for i in range(20, 40)]
    assert figures["nats"] == pytest.approx(sum(nats) / len(nats), rel=1e-4)
    assert 0 <= figures["ended"] <= 1
