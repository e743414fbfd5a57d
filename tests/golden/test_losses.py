"""Twenty losses of each stage on the debug model, as they were when the stage was written.

A change here is a change of what is trained: say so in docs/log.md and write the numbers anew with
`PYTHONPATH=. python tests/golden/test_losses.py EMPTY_FOLDER`.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.config import NAMED
from model.network import Transformer
from training.distributed import join
from training.recipes import debug
from training.stages import TrainingRecord
from training.train import Run, train

GOLDEN = Path(__file__).with_name("losses.json")
SPECIAL = torch.tensor([508, 509, 510])
RECIPES = {
    "adapt": replace(debug(), num_steps=20, offset_decay=0.9),
    "adapt-coupled": replace(debug(), num_steps=20, coupling_rank=6),
    "fim": replace(debug(), num_steps=20, stage="fim", kind="merge"),
    "fim-keep": replace(debug(), num_steps=20, stage="fim", kind="merge", keep_weight=0.75),
    "edit": replace(
        debug(), num_steps=20, stage="edit", gates_visible=True, edit_share=0.5, draft_share=0.25
    ),
    "order": replace(
        debug(),
        num_steps=20,
        stage="order",
        gates_visible=True,
        pool_size=5,
        temperature=0.5,
        blocks_per_record=4,
        off_path_weight=0.5,
    ),
    "onpolicy": replace(
        debug(),
        num_steps=20,
        stage="onpolicy",
        gates_visible=True,
        pool_size=3,
        temperature=0.5,
        blocks_per_record=3,
        agree_weight=1.0,
        certainty_weight=0.1,
        anchor_weight=0.5,
    ),
    "ar": replace(
        debug(), num_steps=20, stage="ar", is_full=True, blocks_per_record=0, block_sizes=()
    ),
}


class Records:
    """Random text with special tokens around, 30 to 90 tokens long."""

    def draw(self, index):
        generator = torch.Generator().manual_seed(1000 + index)
        length = int(torch.randint(30, 90, (1,), generator=generator))
        ids = torch.randint(0, 500, (length,), generator=generator)
        ids[[0, length // 2]] = SPECIAL[:2]
        ids[-1] = SPECIAL[2]
        return TrainingRecord(ids, length // 2 + 1, SPECIAL)


def losses(stage, folder):
    torch.manual_seed(17)
    figures = []
    with join(torch.device("cpu"), has_group=RECIPES[stage].is_full) as world:
        train(
            Transformer(NAMED["debug"]).eval(),
            RECIPES[stage],
            Records(),
            Run(folder),
            lambda _, told: figures.append(told["loss"]),
            world,
        )
    return figures


@pytest.mark.parametrize("stage", RECIPES)
def test_losses_are_those_of_before(stage, tmp_path):
    assert losses(stage, tmp_path) == pytest.approx(json.loads(GOLDEN.read_text())[stage], rel=1e-4)


if __name__ == "__main__":
    written = {stage: losses(stage, Path(sys.argv[1]) / stage) for stage in RECIPES}
    GOLDEN.write_text(json.dumps(written, indent=1) + "\n")
