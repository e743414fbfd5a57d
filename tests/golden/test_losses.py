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

from model.adapter import Adapter, AdapterConfig, save_adapter
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
    "early": replace(
        debug(), num_steps=20, stage="early", early_layer=2, num_fitted=8, seams=2, peak_lr=1e-2
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
    config, start = NAMED["debug"], None
    if stage == "early":  # leaves room between the first and the last layer, and begins with a file
        config, start = replace(config, num_layers=5), folder / "start.safetensors"
        folder.mkdir(parents=True, exist_ok=True)
        save_adapter(Adapter(config, AdapterConfig(4, 8.0)), config, start)
    model = Transformer(config).eval()
    if stage == "early":  # layers that change much and sharp logits, or the loss is nearly nothing
        with torch.no_grad():
            for parameter in (*model.blocks.parameters(), model.head.weight):
                parameter.mul_(4.0)
    with join(torch.device("cpu"), has_group=RECIPES[stage].is_full) as world:
        train(
            model,
            RECIPES[stage],
            Records(),
            Run(folder, start=start),
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
