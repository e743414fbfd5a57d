"""Labels that turn a draft of a block into its target: keep, substitute, delete, insert.

The method of LLaDA2.2 on a block of fixed length, as section 6 of the project's design retells it:
an LCS of draft and target is kept, the gaps between its matches are labelled, and rounds of
labelling and applying reach the target. The sampler applies the same operations as the model
predicts them.

Knows token ids only, neither a model nor how a draft came about.

Shape suffixes: N blocks, L slots; I, J are L + 1 states, `score_NIJ` scores draft[i:], target[j:].
"""

from dataclasses import dataclass

import torch
from torch import Tensor

KEEP, SUBSTITUTE, DELETE, INSERT = range(4)


@dataclass(frozen=True)
class EditLabels:
    """What to do with each slot: `operation_NL`, one of four, and `token_NL`, what it then holds.

    `token_NL` is the target's token where substituted and the draft's own elsewhere; an INSERT
    keeps its token and puts a MASK before it.
    """

    operation_NL: Tensor
    token_NL: Tensor

    def targets(self, *, delete_id: int, insert_id: int) -> Tensor:
        """Labels as ids that a head can predict, (N, L) int64.

        A kept slot has its own token for a target: visible tokens are predicted again, never
        copied (no carry-over unmasking, arXiv 2508.02193, section 3.1).
        """
        target_NL = self.token_NL.masked_fill(self.operation_NL == DELETE, delete_id)
        return target_NL.masked_fill(self.operation_NL == INSERT, insert_id)


def label_edits(draft_NL: Tensor, target_NL: Tensor, *, end_id: int, mask_id: int) -> EditLabels:
    """Label the slots of drafts, (N, L), such that applying the labels leads towards the targets.

    Matched slots are kept. In a gap of d draft slots and g target tokens the first min(d, g) slots
    are substitutions and surplus slots are deleted; if g > d, the match after the gap is labelled
    INSERT, which makes room for one token a round. After the last match the same holds, where
    the target's padding does not count as tokens: a surplus slot is deleted, except that a MASK
    there becomes the end, or blocks refilled with MASK would never settle. With a model that is
    always right, at most 2 L rounds reach the target.

    Args:
        draft_NL: int64, may hold `mask_id`; padded with `end_id`.
        target_NL: int64 without `mask_id`; padded with `end_id`.
    """
    num_blocks, num_slots = draft_NL.shape
    match_NL = _matches(draft_NL, target_NL, end_id)
    slot_L = torch.arange(num_slots, device=draft_NL.device)
    is_match_NL = match_NL >= 0

    none_N1 = torch.full((num_blocks, 1), -1, device=draft_NL.device)
    slot_or_none_NL = torch.where(is_match_NL, slot_L, -1)
    before_draft_NL = torch.cat([none_N1, slot_or_none_NL.cummax(1).values[:, :-1]], 1)
    before_target_NL = torch.cat([none_N1, match_NL.cummax(1).values[:, :-1]], 1)
    place_in_gap_NL = slot_L - before_draft_NL - 1

    is_content_NL = target_NL != end_id
    num_content_N1 = torch.where(is_content_NL, slot_L + 1, 0).amax(1, keepdim=True)
    next_NL = torch.where(is_match_NL, match_NL, num_slots).flip(1).cummin(1).values.flip(1)
    is_tail_NL = next_NL == num_slots
    gap_end_NL = torch.where(is_tail_NL, num_content_N1, next_NL)

    wanted_NL = before_target_NL + 1 + place_in_gap_NL
    has_target_NL = wanted_NL < gap_end_NL
    ends_NL = is_tail_NL & ~has_target_NL & (draft_NL == mask_id)
    has_missing_NL = is_match_NL & has_target_NL

    operation_NL = torch.full_like(draft_NL, DELETE)
    operation_NL[is_match_NL] = KEEP
    operation_NL[has_missing_NL] = INSERT
    is_substituted_NL = ~is_match_NL & (has_target_NL | ends_NL)
    operation_NL[is_substituted_NL] = SUBSTITUTE
    wanted_token_NL = target_NL.gather(1, wanted_NL.clamp(max=num_slots - 1))
    wanted_token_NL = wanted_token_NL.masked_fill(ends_NL, end_id)
    return EditLabels(operation_NL, torch.where(is_substituted_NL, wanted_token_NL, draft_NL))


def apply(labels: EditLabels, *, mask_id: int, fill_id: int) -> Tensor:
    """The blocks after one round, (N, L): DELETE shifts left, INSERT turns x_i into (MASK, x_i).

    What then lies beyond the block is cut off; free slots at its end are filled with `fill_id`, the
    end token, or MASK where a sampler is to go on there.
    """
    num_blocks, num_slots = labels.operation_NL.shape
    is_deleted_NL, is_inserted_NL = labels.operation_NL == DELETE, labels.operation_NL == INSERT
    width_NL = 1 - is_deleted_NL.long() + is_inserted_NL.long()
    stop_NL = width_NL.cumsum(1)
    nowhere = 2 * num_slots  # one column more than a block of INSERTs can fill
    result_NL = torch.full(
        (num_blocks, nowhere + 1), fill_id, dtype=torch.long, device=stop_NL.device
    )
    result_NL.scatter_(1, (stop_NL - 1).masked_fill(is_deleted_NL, nowhere), labels.token_NL)
    mask_NL = torch.full_like(labels.token_NL, mask_id)
    result_NL.scatter_(1, (stop_NL - 2).masked_fill(~is_inserted_NL, nowhere), mask_NL)
    return result_NL[:, :num_slots].contiguous()


def _matches(draft_NL: Tensor, target_NL: Tensor, end_id: int) -> Tensor:
    """An LCS: the target slot that each draft slot is matched with, or -1, (N, L) int64.

    Among the LCSs the one with most matches in place wins, for these need neither DELETE nor
    INSERT. Padding has no such bonus: padding that moves with an edit costs nothing.
    """
    num_blocks, num_slots = draft_NL.shape
    device = draft_NL.device
    slot_L = torch.arange(num_slots, device=device)
    # One match more outweighs all bonuses together, so the result is an LCS first of all.
    is_equal_NLL = draft_NL[:, :, None] == target_NL[:, None, :]
    has_bonus_NLL = (slot_L[:, None] == slot_L) & (draft_NL != end_id)[:, :, None]
    gain_NLL = is_equal_NLL * (num_slots + 1 + has_bonus_NLL.long())

    score_NIJ = torch.zeros(
        num_blocks, num_slots + 1, num_slots + 1, dtype=torch.long, device=device
    )
    for i in reversed(range(num_slots)):
        below_NJ = score_NIJ[:, i + 1]
        best_NJ = below_NJ.clone()
        best_NJ[:, :-1] = torch.maximum(below_NJ[:, :-1], below_NJ[:, 1:] + gain_NLL[:, i])
        # Skipping target tokens makes a row's score the maximum of all that lies right of it.
        score_NIJ[:, i] = best_NJ.flip(1).cummax(1).values.flip(1)

    match_NL = torch.full_like(draft_NL, -1)
    j_N1 = torch.zeros(num_blocks, 1, dtype=torch.long, device=device)
    state_J = torch.arange(num_slots + 1, device=device)
    for i in range(num_slots):
        here_NJ, below_NJ = score_NIJ[:, i], score_NIJ[:, i + 1]
        is_taken_NJ = torch.zeros_like(here_NJ, dtype=torch.bool)
        is_best_NL = here_NJ[:, :-1] == below_NJ[:, 1:] + gain_NLL[:, i]
        is_taken_NJ[:, :-1] = is_equal_NLL[:, i] & is_best_NL
        # Ties: match first, then skip the draft's slot, which lets a later one match.
        is_stop_NJ = (is_taken_NJ | (here_NJ == below_NJ)) & (state_J >= j_N1)
        j_N1 = is_stop_NJ.int().argmax(1, keepdim=True)
        is_taken_N1 = is_taken_NJ.gather(1, j_N1)
        match_NL[:, i] = torch.where(is_taken_N1, j_N1, -1)[:, 0]
        j_N1 = j_N1 + is_taken_N1.long()
    return match_NL
