"""What a stage is trained with: one function a recipe, each returns the whole, frozen.

To try something else, write another function; what a checkpoint was trained with stays readable.
Knows neither the network nor the loop.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from model.adapter import Kind
from model.noise import Schedule

Stage = Literal["fim", "adapt", "edit", "order", "onpolicy", "early", "ar"]
Operation = Literal["delete", "insert", "substitute"]
Source = Literal["own_argmax", "neighbor", "uniform"]

_DENOISING: tuple[Stage, ...] = ("adapt", "edit", "order", "onpolicy")
_FEWEST_FITTED = 4


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
    min_run: int = 0
    """Every other record is a run of lines (`training.data.holes`) of at least so many tokens, the
    end included (stage `fim`); 0: as they come. Half of those have under ten tokens, from which a
    model learns to end after a line whatever is asked, and most end with a statement, from which it
    learns to end wherever one does."""
    min_enumeration: int = 0
    """Every other of these runs is an enumeration of at least so many tokens instead; 0: none is.
    From runs alone a model learns to end a ladder of `elif` or a table after a few of its items,
    although others are missing before those that follow."""
    keep_weight: float = 0.0
    """Share of the loss of a token before the end that is forward KL to the base without the
    update, whose own ends count for nothing (stage `fim`); the rest is cross-entropy. At 1 only the
    ends are learnt from the data."""
    num_edits: int = 0
    """Edits that follow each record, or each pair of records where there are runs of lines, as
    questions with their answers (stage `fim`)."""
    max_edit_tokens: int = 0
    """Of such a question with its answer."""
    kept_weight: float = 1.0
    """Weight of a token of such an answer that is that of the old code; others have 1. Most of an
    answer is copied, which every model can."""
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
    coupling_rank: int = 0
    """Of the coupling that is trained along (`model.coupling`, stage `adapt`); 0: none is. Half of
    the loss is then that of the coupled rows, which are told the text's token in their place."""
    vocabulary_size: int | None = None
    """Tokens that a prediction may choose from, the most frequent ones of the data; None: all."""
    is_full: bool = False
    """Whether all weights are trained, without a low-rank update."""
    gates_visible: bool = False
    """Whether the adapter acts on all rows of a block but the first, so that it can correct what it
    sees; without, on MASK rows only. A sampler has to gate as the adapter was trained."""
    edit_share: float = 0.0
    """Share of the blocks whose tokens are corrupted by edits; the others are masked. 0 leaves mask
    noise alone (stage `edit`)."""
    edit_start: float = 0.0
    """Share of the steps that are over before blocks are edited: 0.8 makes the two-stage curriculum
    of Seed Diffusion in one run."""
    max_edit_share: float = 0.5
    """Edits per token at most; k rises with t from 0."""
    edit_operations: tuple[Operation, ...] = ("delete", "insert", "substitute")
    """Edits that occur. Without `delete` and `insert` nothing is shifted by corruption."""
    edit_sources: tuple[Source, ...] = ("own_argmax", "neighbor", "uniform")
    """Where wrong tokens come from."""
    draft_share: float = 0.0
    """Share of the edited blocks that hold the model's whole draft in the place of a few edits."""
    uses_old_text: bool = True
    """Whether edited blocks hold the older text of a record that has one (`stages.edit.PairRecord`,
    pairs of before and after); without, it is corrupted like all others."""
    has_operations: bool = True
    """Whether labels delete and insert; without, each slot is to hold the text of its own place."""
    pool_size: int = 1
    """Trajectories for each block (stages `order`, `onpolicy`)."""
    num_kept: int = 1
    """Of them, how many are distilled (stage `order`)."""
    has_order_filter: bool = True
    """Whether those are kept whose order makes the text most likely; without, the first ones."""
    order_noise: float = 0.1
    """Edits per visible token of a distilled state, by substitution: the augmentation f."""
    temperature: float = 0.0
    """Of trajectories: of the choice of places in stage `order`, of tokens in stage `onpolicy`,
    where 0 takes the most likely token."""
    step_weight: float = 1.0
    """Price of steps against reward (stage `onpolicy`)."""
    agree_weight: float = 0.0
    """Reward for the share of a draft that the base would have written."""
    syntax_weight: float = 0.0
    """Reward for a draft that leaves the text without more syntax errors than it had; needs records
    that can be read as code (`stages.reward.CodeRecord`)."""
    certainty_weight: float = 0.0
    """Weight of the entropy of first drafts that are the base's own tokens; 0: no such term."""
    early_layer: int = 0
    """Layer where rows that are only read leave (`model.early`, stage `early`)."""
    num_fitted: int = 0
    """Records that the map of such rows is fitted to in closed form before it is trained."""
    seams: int = 0
    """Places of a record where early rows end and others begin (stage `early`)."""
    rows_per_seam: int = 100
    """Rows behind such a place whose predictions are compared."""
    anchor_weight: float = 0.0
    """Weight of the loss of stage `adapt` on the blocks that trajectories begin with: it keeps
    predictions true while they get sure."""

    def __post_init__(self) -> None:
        if self.stage in _DENOISING and not (self.block_sizes and self.blocks_per_record):
            raise RecipeError(f"Recipe {self.name}: a stage that denoises needs blocks.")
        if self.stage in _DENOISING[1:] and self.is_full:
            raise RecipeError(f"Recipe {self.name}: stage {self.stage} needs a frozen base.")
        if self.keep_weight and self.is_full:
            raise RecipeError(f"Recipe {self.name}: keep_weight needs a frozen base.")
        if self.coupling_rank and (self.stage != "adapt" or self.is_full):
            raise RecipeError(f"Recipe {self.name}: a coupling is trained in stage adapt only.")
        if self.stage == "adapt" and self.gates_visible:
            raise RecipeError(f"Recipe {self.name}: stage adapt trains MASK rows only.")
        if self.stage == "onpolicy" and self.pool_size < 2:
            raise RecipeError(f"Recipe {self.name}: a trajectory is compared with others.")
        if not 1 <= self.num_kept <= self.pool_size:
            raise RecipeError(f"Recipe {self.name}: not so many trajectories can be kept.")
        if self.stage == "early" and (self.num_fitted < _FEWEST_FITTED or self.seams < 1):
            raise RecipeError(f"Recipe {self.name}: a map needs records that it is fitted to.")
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
        min_run=16,
        min_enumeration=16,
        keep_weight=0.9,
        rank=16,
        alpha=32.0,
        peak_lr=2e-4,
        warmup_steps=10,
    )


def instruct() -> Recipe:
    """Holes and edits in turns: to do what a question about code asks for, too.

    Begins with the update of `fim` and replaces it.
    """
    return replace(
        fim(),
        name="instruct",
        keep_weight=0.0,
        num_steps=115,
        records_per_step=6,
        num_edits=4,
        max_edit_tokens=384,
        kept_weight=0.1,
    )


def adapt() -> Recipe:
    """AR to block diffusion: many short blocks over each context, on a CPU."""
    return Recipe(
        name="adapt",
        stage="adapt",
        kind="gated",
        num_steps=340,
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


def short() -> Recipe:
    """Blocks as short as one forward drafts and verifies them; begins with the adapter of `adapt`.

    Behind each draft that might be accepted stand two to four masks (`sampler.drafting`), so the
    rows of longer blocks would teach what is never asked.
    """
    return replace(
        adapt(),
        name="short",
        num_steps=220,
        peak_lr=4e-4,
        blocks_per_record=96,
        block_sizes=(6, 5, 4),
        full_share=0.9,
        coupling_rank=128,
    )


def edit() -> Recipe:
    """Blocks with wrong tokens among the masked ones; begins with the adapter of `adapt`."""
    return Recipe(
        name="edit",
        stage="edit",
        kind="gated",
        num_steps=200,
        records_per_step=1,
        max_tokens=512,
        peak_lr=2e-4,
        blocks_per_record=64,
        block_sizes=(8,),
        full_share=0.75,
        kl_weight=0.8,
        offset_decay=0.9,
        off_path_weight=0.25,
        vocabulary_size=32_768,
        gates_visible=True,
        edit_share=0.5,
        draft_share=0.25,
    )


def order() -> Recipe:
    """Distill the orders that make the text most likely; begins with the adapter of `edit`."""
    return Recipe(
        name="order",
        stage="order",
        kind="gated",
        num_steps=100,
        records_per_step=1,
        max_tokens=512,
        peak_lr=1e-4,
        blocks_per_record=12,
        block_sizes=(8,),
        kl_weight=0.5,
        off_path_weight=0.25,
        vocabulary_size=32_768,
        gates_visible=True,
        pool_size=5,
        temperature=0.5,
    )


def onpolicy() -> Recipe:
    """Few steps, by the model's own trajectories; begins with the adapter of `order`."""
    return Recipe(
        name="onpolicy",
        stage="onpolicy",
        kind="gated",
        num_steps=100,
        records_per_step=1,
        max_tokens=512,
        peak_lr=5e-5,
        blocks_per_record=8,
        block_sizes=(8,),
        kl_weight=0.8,
        off_path_weight=0.25,
        vocabulary_size=32_768,
        gates_visible=True,
        pool_size=4,
        temperature=0.5,
        step_weight=2.0,
        agree_weight=1.0,
        syntax_weight=0.25,
        certainty_weight=0.1,
        anchor_weight=0.5,
    )


def early() -> Recipe:
    """Rows that are only read leave early: a linear map makes their keys and values.

    Begins with an adapter whose update of the base it is fitted to; changes neither.
    """
    return Recipe(
        name="early",
        stage="early",
        kind="gated",
        num_steps=100,
        records_per_step=4,
        max_tokens=512,
        peak_lr=1e-3,
        warmup_steps=10,
        early_layer=18,
        num_fitted=120,
        seams=3,
        vocabulary_size=16_384,
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
    function.__name__: function
    for function in (fim, instruct, adapt, short, edit, order, onpolicy, early, ar, debug)
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
    # What is a tuple here comes back from JSON as a list.
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
    }
    return Recipe(**values)
