"""From text to an adapter that the engine loads, through the commands, on the debug model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.adapter import load_update
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import read_vocabulary
from sampler.load import open_engine
from tests.tiny_model import write_tiny_model
from training.cli import app
from training.data.records import RecordMaker
from training.data.shards import Pack, Shards, file_key, write_shards
from training.recipes import RECIPES, RecipeError, adapt, fim
from training.source import ShardSource


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def shards(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    maker = RecordMaker(read_vocabulary(model))
    texts = [
        f"def function_{i}(argument):\n    value = argument * {i}\n    print(value)\n"
        f"    if value > {i}:\n        value = {i}\n        print('more')\n    return value\n"
        for i in range(20)
    ]
    made = [
        (each.record, file_key(text))
        for i, text in enumerate(texts)
        for each in maker.make(text, seed=i, name=f"{i}.py")
    ]
    write_shards(folder, [Pack.of(made)], {})
    return folder


def test_the_command_trains_and_goes_on(model, shards, tmp_path, capsys):
    words = ["train", "debug", "--data", shards, "--out", tmp_path, "--model", model]
    words = [str(word) for word in [*words, "--dtype", "float32", "--threads", "1"]]
    app([*words, "--steps", "3"], result_action="return_value")
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 3
    app(words, result_action="return_value")
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(8))
    assert all(line["rows"] > 0 for line in lines)
    adapter = Path(capsys.readouterr().out.splitlines()[-1])
    engine = open_engine(
        model, device=torch.device("cpu"), dtype=torch.float32, adapter=adapter, block_size=4
    )
    assert engine.runner.model.adapter is not None
    with pytest.raises(RecipeError, match="Unknown recipe"):
        app(["train", "adopt", *words[2:]], result_action="return_value")


def test_what_is_exported_is_loaded_with_its_base(model, shards, tmp_path, capsys):
    def run(recipe, *more):
        words = [recipe, "--data", shards, "--out", tmp_path / recipe, "--model", model, *more]
        words = ["train", *words, "--dtype", "float32", "--threads", "1"]
        app([str(word) for word in words], result_action="return_value")
        return Path(capsys.readouterr().out.splitlines()[-1])

    small = {"num_steps": 2, "records_per_step": 1, "rank": 2, "max_tokens": 256}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "fim", lambda: replace(fim(), **small))
        patch.setitem(
            RECIPES, "adapt", lambda: replace(adapt(), **small, blocks_per_record=4, kl_weight=0.5)
        )
        update = run("fim")
        adapter = run("adapt", "--base-update", update)
    both = tmp_path / "both.safetensors"
    words = ["--adapter", adapter, "--base-update", update, "--model", model, "--out", both]
    app([str(word) for word in ["export", *words]], result_action="return_value")
    assert both.stat().st_size < adapter.stat().st_size + update.stat().st_size
    engine = open_engine(model, device=torch.device("cpu"), dtype=torch.float32, adapter=both)
    assert engine.settings.block_size == 8
    assert load_update(both, engine.runner.model.config) is not None


def test_records_come_in_an_order_of_their_own(model, shards):
    vocabulary = read_vocabulary(model)
    source = ShardSource(Shards(shards), vocabulary.special_ids, seed=1)
    count = len(Shards(shards))
    texts = [Tokenizer(vocabulary).decode(source.draw(i).ids_S.tolist()) for i in range(count)]
    assert sorted(texts) == sorted(
        Tokenizer(vocabulary).decode(Shards(shards)[i].tokens.tolist()) for i in range(count)
    )
    assert texts[0] == Tokenizer(vocabulary).decode(source.draw(0).ids_S.tolist())
