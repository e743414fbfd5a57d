"""Edit-based corruption: a few random deletions, insertions and substitutions of tokens.

The forward process q_edit of Seed Diffusion (arXiv 2508.02193, section 3.1), which teaches a model
that a visible token may be wrong. Knows token ids only; labels for a corrupted block come from
`labels`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Tokens = Tensor | NDArray[np.integer]


@dataclass(frozen=True)
class EditMix:
    """Relative weights of the edits, and of the sources of a substitution's new token.

    `own_argmax` takes the model's own wrong guess, the error that it has to find at work;
    `neighbor` repeats the token before or after, the error that parallel decoding makes most;
    `uniform` draws any id. An inserted token comes from the last two.
    """

    delete: float = 1.0
    insert: float = 1.0
    substitute: float = 2.0
    own_argmax: float = 2.0
    neighbor: float = 1.0
    uniform: float = 1.0


DEFAULT_MIX = EditMix()


def num_edits(num_tokens: int, alpha: float) -> int:
    """k_t = ⌊|x0| · α_t⌋ (arXiv 2508.02193, q_edit)."""
    return math.floor(num_tokens * alpha)


def corrupt(
    tokens_T: Tokens,
    alpha: float,
    generator: torch.Generator,
    *,
    id_range: range,
    argmax_T: Tokens | None = None,
    mix: EditMix = DEFAULT_MIX,
    num_settled: int = 0,
) -> Tensor:
    """Apply k = ⌊T · alpha⌋ random edits; the Levenshtein distance to `tokens_T` is at most k.

    It can be less, as one edit may undo another. Equal arguments and generator states give equal
    results.

    Args:
        tokens_T: 1-D ids of any integer type; not changed.
        alpha: edits per token.
        generator: CPU generator, the only source of chance.
        id_range: ids that uniform draws come from; not empty.
        argmax_T: the model's own guess for each token; without it, and where it is right, a
            substitution takes one of the other sources.
        mix: weights of the edits and sources.
        num_settled: so many tokens at the start stay untouched, as slot 0 of a block does.

    Returns:
        1-D int64 tensor on the CPU; shorter or longer than `tokens_T` by at most k.
    """
    tokens: list[int] = torch.as_tensor(tokens_T).tolist()
    assert 0 <= num_settled <= len(tokens), "more settled tokens than tokens"
    # None or one wrong guess for each token; what an edit puts in has no guess of its own.
    wrong_guesses: list[list[int]] = [[] for _ in tokens]
    if argmax_T is not None:
        argmaxes = torch.as_tensor(argmax_T).tolist()
        wrong_guesses = [[g] if g != x else [] for g, x in zip(argmaxes, tokens, strict=True)]

    draws = torch.rand(num_edits(len(tokens), alpha), 4, generator=generator).tolist()
    for edit_draw, place_draw, source_draw, token_draw in draws:
        num_free = len(tokens) - num_settled
        weights = {"insert": mix.insert}
        if num_free:
            weights |= {"delete": mix.delete, "substitute": mix.substitute}
        edit = _choose(edit_draw, weights)
        # An insertion may also go behind the last token.
        place = num_settled + int(place_draw * (num_free + (edit == "insert")))
        uniform = [id_range[int(token_draw * len(id_range))]]
        before = tokens[:place][-1:]
        if edit == "delete":
            del tokens[place], wrong_guesses[place]
        elif edit == "insert":
            sources = {"neighbor": before + tokens[place : place + 1], "uniform": uniform}
            new = _draw_token(sources, mix, source_draw, token_draw, unlike=None)
            tokens[place:place] = new
            wrong_guesses[place:place] = [[] for _ in new]
        elif edit == "substitute":
            sources = {
                "own_argmax": wrong_guesses[place],
                "neighbor": before + tokens[place + 1 : place + 2],
                "uniform": uniform,
            }
            new = _draw_token(sources, mix, source_draw, token_draw, unlike=tokens[place])
            tokens[place : place + 1] = new or tokens[place : place + 1]
    return torch.tensor(tokens, dtype=torch.long)


def _choose(draw: float, weights: Mapping[str, float]) -> str | None:
    """The name that a uniform draw in [0, 1) falls on; None where no weight is positive."""
    rest = draw * sum(weights.values())
    for name, weight in weights.items():
        if rest < weight:
            return name
        rest -= weight
    return None


def _draw_token(
    sources: Mapping[str, list[int]],
    mix: EditMix,
    source_draw: float,
    token_draw: float,
    *,
    unlike: int | None,
) -> list[int]:
    """One token other than `unlike` from a source that has such a token; none where none has."""
    choices = {name: [x for x in tokens if x != unlike] for name, tokens in sources.items()}
    weights = {name: getattr(mix, name) for name, tokens in choices.items() if tokens}
    name = _choose(source_draw, weights)
    return [] if name is None else [choices[name][int(token_draw * len(choices[name]))]]
