"""What a stage is trained with: one function a recipe, each returns the whole, frozen.

To try something else, write another function; what a checkpoint was trained with stays readable.
Knows neither the network nor the loop.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from model.adapter import Kind
from model.noise import Schedule

Stage = Literal["fim", "adapt", "edit", "order", "onpolicy", "ar"]


class RecipeError(ValueError):
    """A recipe that does not exist or cannot be; one sentence for a person."""


@dataclass(frozen=True)
class Recipe:
    """All that decides what a run computes, but for data, base weights and machine."""

    name: str
    stage: Stage
    kind: Kind
    num_steps: int
    records_per_step: int
    max_tokens: int
    """Records are cut to so many of their last tokens."""
    rank: int = 32
    alpha: float = 64.0
    peak_lr: float = 6e-4
    warmup_steps: int = 20
    final_lr_share: float = 0.1
    weight_decay: float = 0.0
    max_gradient_norm: float = 1.0
    seed: int = 0
    blocks_per_record: int = 0
    """Noisy blocks over each record (stages that denoise)."""
    block_sizes: tuple[int, ...] = ()
    """Curriculum: each for an equal share of the steps."""
    full_share: float = 0.375
    """Share of blocks that are masked whole, as they are when a draft begins."""
    noise: Schedule = "linear"
    has_pairs: bool = True
    """Whether the other blocks come in complementary pairs."""
    kl_weight: float = 0.5
    """Share of the loss that is forward KL to the base's own prediction; the rest is cross-entropy
    against the text."""
    offset_decay: float = 1.0
    """Weight of a slot over that of the slot before it: drafts are accepted from the left."""
    off_path_weight: float = 1.0
    """Weight of a row whose block, up to it, is not what the base itself would have written: mode
    `exact` has refused the draft before it comes to that row."""
    vocabulary_size: int | None = None
    """Tokens that a prediction may choose from, the most frequent ones of the data; None: all."""
    is_full: bool = False
    """Whether all weights are trained, without a low-rank update."""

    def __post_init__(self) -> None:
        if self.stage == "adapt" and not (self.block_sizes and self.blocks_per_record):
            raise RecipeError(f"Recipe {self.name}: a stage that denoises needs blocks.")
        if min((*self.block_sizes, 3)) < 3:
            raise RecipeError(f"Recipe {self.name}: a block has at least 3 slots.")
        if self.num_steps < 1 or self.records_per_step < 1:
            raise RecipeError(f"Recipe {self.name}: nothing to do.")

    def block_size(self, step: int) -> int:
        """Slots of a block in a step, by the curriculum."""
        index = step * len(self.block_sizes) // self.num_steps
        return self.block_sizes[min(index, len(self.block_sizes) - 1)]

    def as_data(self) -> dict[str, Any]:
        """Plain data, for a checkpoint."""
        return asdict(self)


def fim() -> Recipe:
    """Teach the base to end a hole by itself and to read the layout `spm`; merged at load."""
    return Recipe(
        name="fim",
        stage="fim",
        kind="merge",
        num_steps=100,
        records_per_step=4,
        max_tokens=512,
        rank=16,
        alpha=32.0,
        peak_lr=2e-4,
        warmup_steps=10,
    )


def adapt() -> Recipe:
    """AR to block diffusion: many short blocks over each context, on a CPU."""
    return Recipe(
        name="adapt",
        stage="adapt",
        kind="gated",
        num_steps=500,
        records_per_step=1,
        max_tokens=512,
        blocks_per_record=64,
        block_sizes=(8,),
        full_share=0.75,
        kl_weight=0.8,
        offset_decay=0.9,
        off_path_weight=0.25,
        vocabulary_size=32_768,
    )


def ar() -> Recipe:
    """The AR twin: all weights, next-token prediction of the same data, for a fair comparison."""
    return Recipe(
        name="ar",
        stage="ar",
        kind="merge",
        num_steps=2000,
        records_per_step=2,
        max_tokens=512,
        peak_lr=2e-5,
        warmup_steps=100,
        is_full=True,
    )


def debug() -> Recipe:
    """A few steps of the debug model, for tests."""
    return Recipe(
        name="debug",
        stage="adapt",
        kind="gated",
        num_steps=8,
        records_per_step=2,
        max_tokens=64,
        rank=4,
        alpha=8.0,
        peak_lr=1e-2,
        warmup_steps=2,
        blocks_per_record=8,
        block_sizes=(4, 6),
    )


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    function.__name__: function for function in (fim, adapt, ar, debug)
}


def recipe_from_data(data: Mapping[str, Any]) -> Recipe:
    """The recipe of a checkpoint; a switch that it does not know yet stands at its default, which
    is what was done before there was the switch.

    Raises:
        RecipeError: if a later version wrote it.
    """
    strange = sorted(set(data) - {field.name for field in fields(Recipe)})
    if strange:
        raise RecipeError(f"The checkpoint's recipe is of another version: {', '.join(strange)}.")
    return Recipe(**{**data, "block_sizes": tuple(data["block_sizes"])})
