"""Candidates and coupling: the kernels against their twins, and the twins against the network."""

import pytest
import torch

from model.coupling import Coupling, choose_coupled
from model.masks import Branches
from tests.interpreter import DEVICE

triton = pytest.importorskip("triton")
from sampler.cuda.layout import Layout  # noqa: E402
from sampler.kernels.triton.couple import Tables, couple, couple_twin  # noqa: E402
from sampler.kernels.triton.head import judge, judge_twin  # noqa: E402

DTYPES = [torch.float32, torch.bfloat16]
WIDTH = 80


def operands(num_rows, vocab_size, dtype):
    torch.manual_seed(vocab_size)
    x = torch.randn(num_rows, WIDTH).to(DEVICE, dtype)
    weight = torch.randn(vocab_size, WIDTH).to(DEVICE, dtype)
    wanted = torch.randint(0, vocab_size + 1, (num_rows,), device=DEVICE)
    return x, weight, wanted


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("num_rows", "vocab_size"), [(1, 8), (6, 300), (17, 1800)])
def test_candidates(num_rows, vocab_size, dtype):
    """Also where several are in one share, and where there are fewer shares than candidates."""
    x, weight, wanted = operands(num_rows, vocab_size, dtype)
    weight[vocab_size // 2 :][:12] *= 3.0
    gate = torch.rand(num_rows, device=DEVICE) < 0.6
    gate[0] = True
    found, expected = (each(x, weight, wanted, gate) for each in (judge, judge_twin))
    plain = judge(x, weight, wanted)
    for name in ("tokens_R", "confidence_R", "logits_R", "wanted_R"):
        assert torch.equal(getattr(found, name), getattr(plain, name))
    assert plain.candidates is None
    assert torch.equal(found.candidates.ids_LK[gate], expected.candidates.ids_LK[gate])
    torch.testing.assert_close(
        found.candidates.log_p_LK[gate], expected.candidates.log_p_LK[gate], atol=1e-3, rtol=1e-3
    )
    assert found.candidates.hidden_LD is x


def test_of_equally_likely_candidates_the_first_are_taken():
    weight = torch.zeros(300, 16, device=DEVICE)
    weight[[7, 100, 150, 290]] = 1.0
    gate = torch.ones(2, dtype=torch.bool, device=DEVICE)
    wanted = torch.zeros(2, dtype=torch.long, device=DEVICE)
    verdict = judge(torch.ones(2, 16, device=DEVICE), weight, wanted, gate)
    assert verdict.candidates.ids_LK[1].tolist() == [7, 100, 150, 290, 0, 1, 2, 3]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(3,), (0, 2, 0, 5), (0, 0)])
@pytest.mark.parametrize("is_tied", [True, False])
def test_couple(sizes, is_tied, dtype):
    layout = Layout.of(sizes, DEVICE)
    x, head, wanted = operands(layout.num_rows, 300, dtype)
    embedding = head if is_tied else torch.randn(300, WIDTH).to(DEVICE, dtype)
    coupling = Coupling(WIDTH, 20).to(DEVICE).requires_grad_(False)
    torch.nn.init.normal_(coupling.back, std=0.05)
    tables = Tables.of(coupling, embedding, head)
    plain = judge_twin(x, head, wanted, torch.ones_like(wanted, dtype=torch.bool))
    results = []
    for each in (couple, couple_twin):
        tokens, confidence = plain.tokens_R.clone(), plain.confidence_R.clone()
        each(tokens, confidence, plain.candidates, tables, layout.starts_C, layout.sizes_C)
        results.append((tokens, confidence))
    (found, shares), (expected, expected_shares) = results
    assert torch.equal(found, expected)
    torch.testing.assert_close(shares, expected_shares, atol=1e-3, rtol=1e-3)
    assert torch.equal(found[: len(sizes)], plain.tokens_R[: len(sizes)]), "the chain is left alone"
    for slot in range(len(sizes)):
        rows = Branches(sizes).branch(slot)
        tokens, probabilities = choose_coupled(
            coupling,
            plain.candidates.rows(rows),
            int(plain.tokens_R[slot]),
            lambda ids_N: embedding[ids_N],
            lambda ids_N: head[ids_N],
        )
        if dtype == torch.float32:
            assert found[rows].tolist() == tokens
            assert shares[rows].tolist() == pytest.approx(probabilities, abs=1e-3)
    if layout.has_branches:
        assert not torch.equal(found, plain.tokens_R), "the coupling makes a difference"
