"""Command line of the training side, `seed-train`."""

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from model import hub
from training import run_cli
from training.curves import describe, plot_run, read_run
from training.data import cli as data_cli
from training.evaluation import cli as evaluation_cli
from training.export import export_adapter, init_adapter

app = App(name="seed-train", help="Makes the weights that seed-lsp runs.")
for part in (data_cli, run_cli, evaluation_cli):
    part.register(app)
PositiveInt = Annotated[int, Parameter(validator=validators.Number(gte=1))]


@app.command(name="init-adapter")
def init_adapter_command(
    *, model: Path, out: Path, rank: PositiveInt = 32, random: int | None = None
) -> None:
    """Write a fresh gated adapter for a model.

    Args:
        model: GGUF file, or folder with config.json and safetensors.
        out: file to write, *.safetensors.
        rank: rank of the low-rank updates.
        random: seed for random updates, which draft nonsense (for tests); by default none at all.
    """
    init_adapter(model, out, rank=rank, seed=random)


@app.command(name="export")
def export_command(
    *,
    adapter: Path,
    out: Path,
    base_update: tuple[Path, ...] = (),
    update_share: float = 1.0,
    early: Path | None = None,
    model: str = hub.DEFAULT_MODEL,
) -> None:
    """Put an adapter and the update of the base below it into one file of 8-bit numbers.

    Args:
        adapter: adapter.safetensors of a run.
        out: file to write, *.safetensors.
        base_update: adapter.safetensors of the run of recipe fim that it was trained over. Given
            several times, for runs that began with one another, the mean of them.
        update_share: how much of that update is added, in (0, 1].
        early: file to take the map of rows that leave early from, although it was fitted to another
            update.
        model: the base: known name, hub id, .gguf file or folder.
    """
    export_adapter(
        *(hub.resolve(model), adapter, base_update, out), update_share=update_share, early=early
    )


@app.command(name="curves")
def curves_command(run: Path, *, out: Path) -> None:
    """Draw a run's loss and held-out figures; print them with the law of the accepted drafts.

    Args:
        run: folder of a run.
        out: SVG file to write.
    """
    log = read_run(run)
    plot_run(log, out)
    print(json.dumps(describe(log)))  # noqa: T201


def main() -> None:
    """Run the command line; a mistake of the user's is one sentence and exit code 2."""
    try:
        app()
    except ValueError as error:
        print(f"seed-train: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
