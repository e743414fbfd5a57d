"""Stage `edit`: wrong tokens among the noise, so that a model corrects what is already visible.

Shape suffixes: N blocks, L slots of a block, C slots of a block and those behind it, T rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from model.network import Transformer
from model.noise import edit_share, sample_times
from training.batch import PADDING, Noisy, weigh_path
from training.corruption import EditMix, corrupt
from training.labels import EditLabels, label_edits
from training.loss import chunked_cross_entropy
from training.recipes import Recipe
from training.stages.common import StageLoss, TrainingRecord, cut_record, lay_noise, told
from training.stages.context import (
    Context,
    block_size_of,
    join,
    num_slots_N,
    read_context,
    text_of,
    with_tokens,
)

NUM_SETTLED = 2
"""Slot 0 is the AR token; slot 1 is what its row predicts, and no adapter acts there."""


@dataclass(frozen=True, kw_only=True)
class PairRecord(TrainingRecord):
    """A record whose completion takes the place of older text."""

    old_ids: Tensor
    """What stood there, 1-D."""


@dataclass(frozen=True)
class SpecialIds:
    """What a head predicts that is no token of text, once a block is edited."""

    end: int
    delete: int
    insert: int


def edit(
    model: Transformer,
    records: Sequence[TrainingRecord],
    recipe: Recipe,
    step: int,
    generator: torch.Generator,
) -> StageLoss:
    """Edit-based corruption beside mask noise (Seed Diffusion 2508.02193, L_diff, section 3.1).

    In an edited block all positions have a loss of weight 1: visible tokens are predicted again,
    never copied. Targets are labels along an LCS (`training.labels`), so that a token too many or
    too few makes one wrong slot and not all that follow. The KL to the base stands where a label is
    the text's token at its own place, for only there does the base predict the same.
    """
    cuts = [cut_record(record, recipe) for record in records]
    special = choose_ids(cuts[0])
    context = read_context(model, cuts, (special.delete, special.insert))
    num_edited = _num_edited(recipe, step, generator)
    parts: list[Noisy] = []
    if num_edited < recipe.blocks_per_record:
        masked = replace(recipe, blocks_per_record=recipe.blocks_per_record - num_edited)
        clean = context.clean.to(torch.device("cpu"))
        noisy = lay_noise(model, cuts, clean, masked, step, generator)
        parts.append(noisy.to(context.clean.ids_S.device))
    if num_edited:
        blocks = context.blocks(num_edited, recipe.block_size(step), generator)
        if len(blocks.ids_T):
            parts.append(corrupt_blocks(context, blocks, special, recipe, generator).noisy)
    parts = [part for part in parts if len(part.ids_T)]
    if not parts:
        return StageLoss(torch.zeros(()), {"rows": 0.0, "correct": 0.0})
    noisy = join(parts)
    if recipe.off_path_weight != 1:
        noisy = weigh_path(noisy, context.is_greedy_S(), recipe.off_path_weight)
    return _loss(context, noisy, recipe)


def _num_edited(recipe: Recipe, step: int, generator: torch.Generator) -> int:
    """Edited blocks of each record in a step."""
    if recipe.edit_share == 0 or step < recipe.edit_start * recipe.num_steps:
        return 0  # and nothing is drawn: this is stage `adapt`
    wanted = recipe.edit_share * recipe.blocks_per_record
    return min(int(wanted + float(torch.rand((), generator=generator))), recipe.blocks_per_record)


def choose_ids(cut: TrainingRecord) -> SpecialIds:
    """The end of a record is its last token; the lowest other special ids say what to do.

    The head has rows for them, no text has them, and none stands in a hole.
    """
    special = sorted(cut.special_ids.tolist())
    last = int(cut.ids_S[-1])
    # A record that was cut off ends in the middle of text.
    end = last if last in special else special[0]
    others = [id_ for id_ in special if id_ != end]
    assert len(others) >= 2, "operations need two special ids beside the end"
    return SpecialIds(end, others[0], others[1])


@dataclass(frozen=True)
class Edited:
    """Corrupted blocks, ready for a forward, with the labels that they were made from."""

    noisy: Noisy
    labels: EditLabels
    text_NL: Tensor
    """What the labels lead to; the end token behind the end of a record."""


def corrupt_blocks(
    context: Context,
    blocks: Noisy,
    special: SpecialIds,
    recipe: Recipe,
    generator: torch.Generator,
) -> Edited:
    """Put wrong versions of the text into masked blocks, and labels and weights to their rows.

    The version is the older text where a record has one; else the model's own draft, or the text
    after a few edits. Slots behind the end of a record stay masked and without a loss, unless an
    insertion has filled them.
    """
    num_slots, mask_id = block_size_of(blocks), context.model.config.mask_id
    device = blocks.ids_T.device
    text_NL, guess_NL = text_of(blocks), _drafts(context, blocks, recipe)
    num_N = num_slots_N(blocks).cpu()
    around_NC = _text_around(context, blocks).cpu()
    t_N = sample_times(generator, len(text_NL))
    share_N = edit_share("linear", t_N, recipe.max_edit_share).tolist()
    is_drafted_N = torch.rand(len(text_NL), generator=generator) < recipe.draft_share
    mix = _mix(recipe)
    drafts = []
    olds = _old_text(context, blocks) if recipe.uses_old_text else [None] * len(text_NL)
    for text_L, around_C, guess_L, num, share, is_drafted, old in zip(
        text_NL.cpu(),
        around_NC,
        guess_NL.cpu(),
        num_N.tolist(),
        share_N,
        is_drafted_N,
        olds,
        strict=True,
    ):
        if old is not None:
            tokens = torch.cat([text_L[:num][:NUM_SETTLED], old])
        elif is_drafted:
            tokens = torch.cat([text_L[:NUM_SETTLED], guess_L[NUM_SETTLED:num]])
        else:
            window = around_C[around_C != PADDING]
            guess = torch.cat([guess_L[:num], window[num:]])
            tokens = corrupt(
                window,
                share,
                generator,
                id_range=context.text_range(),
                argmax_T=guess,
                mix=mix,
                num_settled=min(NUM_SETTLED, len(window)),
            )
        tokens = tokens[:num_slots]
        drafts.append(F.pad(tokens, (0, num_slots - len(tokens)), value=mask_id))
    draft_NL = torch.stack(drafts).to(device)
    goal_NL = text_NL.masked_fill(text_NL == PADDING, special.end)
    if recipe.has_operations:
        labels = label_edits(draft_NL, goal_NL, end_id=special.end, mask_id=mask_id)
    else:
        labels = in_place(draft_NL, goal_NL)
    label_NL = labels.targets(delete_id=special.delete, insert_id=special.insert)
    exists_NL = torch.arange(num_slots, device=device) < num_N.to(device)[:, None]
    has_loss_NL = exists_NL | (draft_NL != mask_id)
    has_loss_NL[:, :NUM_SETTLED] = False
    noisy = with_tokens(blocks, draft_NL, mask_id)
    return Edited(
        replace(
            noisy,
            target_T=F.pad(label_NL[:, 1:], (0, 1), value=PADDING).flatten(),
            weight_T=F.pad(has_loss_NL[:, 1:].float(), (0, 1)).flatten(),
        ),
        labels,
        goal_NL,
    )


def in_place(draft_NL: Tensor, text_NL: Tensor) -> EditLabels:
    """Labels that neither delete nor insert: each slot is to hold the text of its own place."""
    return EditLabels((draft_NL != text_NL).long(), text_NL)


def _mix(recipe: Recipe) -> EditMix:
    """Only what the recipe names, in the default's proportions."""
    named = EditMix()
    switches = {
        name: getattr(named, name) * (name in (*recipe.edit_operations, *recipe.edit_sources))
        for name in EditMix.__dataclass_fields__
    }
    return EditMix(**switches)


@torch.no_grad()
def _drafts(context: Context, blocks: Noisy, recipe: Recipe) -> Tensor:
    """(N, L) what the adapter, as it is, writes into masked blocks in one step."""
    hidden_NLD = context.denoise(blocks, gates_visible=recipe.gates_visible)
    best_NL = context.best(hidden_NLD)
    first_N1 = blocks.ids_T.view(len(best_NL), -1)[:, :1]
    return torch.cat([first_N1, best_NL[:, :-1]], dim=1)


def _text_around(context: Context, blocks: Noisy) -> Tensor:
    """(N, C) text of the blocks and as much behind them, `PADDING` behind the end of a record.

    Where tokens are deleted, those behind the block move into it.
    """
    num_slots, clean = block_size_of(blocks), context.clean
    first_N = blocks.clean_T.view(-1, num_slots)[:, 0]
    slot_NC = first_N[:, None] + torch.arange(2 * num_slots, device=first_N.device)
    inside_NC = slot_NC.clamp(max=len(clean.ids_S) - 1)
    is_own_NC = (slot_NC == inside_NC) & (
        clean.record_S[inside_NC] == clean.record_S[first_N][:, None]
    )
    return clean.ids_S[inside_NC].where(is_own_NC, PADDING)


def _old_text(context: Context, blocks: Noisy) -> list[Tensor | None]:
    """For each block over the completion of a `PairRecord`, older text for all but settled slots.

    Old and new text are aligned by the edits between them (Levenshtein).
    """
    num_slots = block_size_of(blocks)
    start_N = blocks.position_T.view(-1, num_slots)[:, 0].tolist()
    record_N = blocks.record_T.view(-1, num_slots)[:, 0].tolist()
    texts: list[Tensor | None] = []
    for start, record in zip(start_N, record_N, strict=True):
        cut = context.cuts[record]
        if isinstance(cut, PairRecord) and start >= cut.target_start:
            new = cut.ids_S[cut.target_start :].tolist()
            begin = _aligned(cut.old_ids.tolist(), new, start - cut.target_start + NUM_SETTLED)
            texts.append(cut.old_ids[begin : begin + num_slots - NUM_SETTLED].cpu())
        else:
            texts.append(None)
    return texts


def _aligned(old: list[int], new: list[int], place: int) -> int:
    """Where in an old text a place of the new one stood."""
    for edit_ in Levenshtein.opcodes(old, new):
        if edit_.dest_start <= place < edit_.dest_end:
            return min(edit_.src_start + place - edit_.dest_start, edit_.src_end)
    return len(old)


def _loss(context: Context, noisy: Noisy, recipe: Recipe) -> StageLoss:
    """Cross-entropy of all rows, with the KL where the base predicts the same token."""
    is_row_T = noisy.weight_T > 0
    hidden_NLD = context.denoise(noisy, gates_visible=recipe.gates_visible)
    hidden_RD, rows = hidden_NLD.flatten(0, 1)[is_row_T], noisy.rows(is_row_T)
    clean = context.clean
    next_S = F.pad(clean.ids_S[1:], (0, 1), value=PADDING)
    is_taught_R = (rows.target_T == next_S[rows.clean_T]) & (recipe.kl_weight > 0)
    _, is_known_R = context.index(rows.target_T)
    total = (rows.weight_T * is_known_R).sum()
    sums: dict[str, float] = {}
    loss = hidden_RD.new_zeros((), dtype=torch.float32)
    for is_taught in (True, False):
        chosen_R = is_taught_R == is_taught
        part = rows.rows(chosen_R)
        result = told(
            chunked_cross_entropy(
                hidden_RD[chosen_R],
                context.model.head.weight,
                part.target_T,
                part.weight_T,
                teacher_hidden_RD=context.hidden_SD[part.clean_T] if is_taught else None,
                kl_weight=recipe.kl_weight,
                vocabulary_ids=context.vocabulary_ids,
                normalizer=total,
            )
        )
        loss = loss + result.loss
        for name, value in result.figures.items():
            sums[name] = sums.get(name, 0.0) + value
    return StageLoss(loss, sums)
