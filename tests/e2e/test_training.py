"""From text to an adapter that the engine loads, through the commands, on the debug model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.adapter import AdapterConfig, AdapterError, load_adapter, load_update, save_adapter
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import read_vocabulary
from model.weights import open_source
from sampler.load import open_engine
from tests.tiny_model import write_tiny_model
from training.cli import app
from training.data.edit_records import EditRecord
from training.data.holes import RecordKind
from training.data.records import Record, RecordMaker
from training.data.shards import (
    EDITS,
    EditShards,
    Pack,
    ShardError,
    Shards,
    file_key,
    write_shards,
)
from training.recipes import RECIPES, RecipeError, adapt, edit, fim, instruct, onpolicy, order
from training.source import ShardSource, runs_of_lines, short_edits
from training.stages.edit import PairRecord
from training.stages.reward import CodeRecord


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
    assert all(line["rows"] > 0 and line["matmul_share"] > 0 for line in lines)
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
    words = ["--adapter", adapter, "--base-update", update, "--model", model]
    app([str(word) for word in ["export", *words, "--out", both]], result_action="return_value")
    assert both.stat().st_size < adapter.stat().st_size + update.stat().st_size
    engine = open_engine(model, device=torch.device("cpu"), dtype=torch.float32, adapter=both)
    assert engine.settings.block_size == 8
    config = engine.runner.model.config
    whole = load_update(both, config)
    app(
        [str(word) for word in ["export", *words, "--out", both, "--update-share", 0.5]],
        result_action="return_value",
    )
    half = load_update(both, config)
    for one, other in zip(whole.layers, half.layers, strict=True):
        assert torch.equal(other.down.delta() * 2, one.down.delta())
    # Of several updates the mean of each matrix: with one whose B is 0, half of the other's.
    zero = load_adapter(update, config, "merge")
    for layer in zero.layers:
        for linear in (layer.qkv, layer.out, layer.gate_up, layer.down):
            torch.nn.init.zeros_(linear.b)
    none = tmp_path / "none.safetensors"
    save_adapter(zero, config, none, "merge")
    mean = tmp_path / "mean.safetensors"
    app(
        [str(word) for word in ["export", *words, "--base-update", none, "--out", mean]],
        result_action="return_value",
    )
    for one, other in zip(whole.layers, load_update(mean, config).layers, strict=True):
        torch.testing.assert_close(other.down.delta() * 2, one.down.delta(), rtol=0.02, atol=1e-4)
    with pytest.raises(AdapterError, match="above 0, up to 1"):
        app(
            [str(word) for word in ["export", *words, "--out", both, "--update-share", 0]],
            result_action="return_value",
        )


@pytest.mark.parametrize("recipe", [edit, order, onpolicy])
def test_later_stages_go_on_from_an_adapter(recipe, model, shards, tmp_path, capsys):
    first = tmp_path / "first.safetensors"
    words = ["init-adapter", "--model", model, "--out", first, "--rank", 2]
    app([str(word) for word in words], result_action="return_value")
    small = replace(
        recipe(),
        num_steps=2,
        rank=2,
        alpha=4.0,
        blocks_per_record=4,
        max_tokens=256,
        records_per_step=2,
    )
    name = recipe.__name__
    words = [name, "--data", shards, "--out", tmp_path / name, "--model", model, "--start", first]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, name, lambda: small)
        app(
            [str(word) for word in ["train", *words, "--dtype", "float32", "--threads", "1"]],
            result_action="return_value",
        )
    lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1]
    assert all(json.loads(line)["norm"] > 0 for line in lines)
    assert load_adapter(
        tmp_path / name / "adapter.safetensors", open_source(model).config
    ).config == AdapterConfig(2, 4.0, block_size=8)


def test_edits_are_drawn_at_every_other_place(model, shards, tmp_path):
    question = Tokenizer(read_vocabulary(model)).encode("x = 1")
    tokens = np.array([*question, 508, *question[::-1], 509], dtype=np.uint32)
    made = EditRecord(tokens, len(question) + 1, "name", 0, len(question))
    write_shards(tmp_path, [Pack.of_edits([(made, 7)])], {}, files=EDITS)
    source = ShardSource(Shards(shards), [508, 509], 0, edits=EditShards(tmp_path))
    drawn = [source.draw(index) for index in range(4)]
    assert [isinstance(record, PairRecord) for record in drawn] == [False, True, False, True]
    assert drawn[1].old_ids.tolist() == question
    assert drawn[1].ids_S[drawn[1].target_start :].tolist() == [*question[::-1], 509]
    code = ShardSource(Shards(shards), [508, 509], 0, decode=lambda ids: "text").draw(0)
    assert isinstance(code, CodeRecord)
    assert code.ids_S.tolist() == drawn[0].ids_S.tolist()


def test_edits_follow_pairs_of_records_in_stage_fim(model, shards, tmp_path):
    question = Tokenizer(read_vocabulary(model)).encode("x = 1")
    edits = []
    for length in (1, 2, 3, 60):
        tokens = np.array([*question, 508, *question * length, 509], dtype=np.uint32)
        edits.append((EditRecord(tokens, len(question) + 1, "name", 0, len(question)), length))
    edits.append((EditRecord(tokens[:9], 5, "release", 0, 3), 7))
    write_shards(tmp_path, [Pack.of_edits(edits)], {}, files=EDITS)
    recipe = replace(instruct(), num_edits=3, max_edit_tokens=30)
    short = short_edits(recipe, EditShards(tmp_path))
    assert short is not None
    assert len(short) == 3
    assert short_edits(replace(recipe, num_edits=0), EditShards(tmp_path)) is None
    assert short_edits(replace(recipe, max_edit_tokens=3), EditShards(tmp_path)) is None
    records = Shards(shards)
    source = ShardSource(records, [508, 509], 0, edits=short, num_edits=3, runs=[records])
    drawn = [source.draw(index) for index in range(10)]
    is_edit = [isinstance(record, PairRecord) for record in drawn]
    assert is_edit == [False, False, True, True, True] * 2
    assert len({len(record.ids_S) for record in drawn[2:5]}) == 3  # an epoch has each once


def test_every_other_record_is_a_run_of_lines_where_the_recipe_asks_for_it(tmp_path):
    kinds: list[RecordKind] = ["line", "run", "span", "run", "file", "line"]
    records = [
        Record(np.arange(number + 5, dtype=np.uint32), 2, kind) for number, kind in enumerate(kinds)
    ]
    write_shards(tmp_path, [Pack.of((record, 7) for record in records)], {})
    shards = Shards(tmp_path)
    recipe = replace(fim(), max_tokens=8, min_run=4)
    (runs,) = runs_of_lines(recipe, shards)
    assert [len(runs[index].tokens) for index in range(len(runs))] == [6, 8]
    source = ShardSource(shards, [508, 509], 0, runs=[runs])
    lengths = [len(source.draw(index).ids_S) for index in range(12)]
    assert sorted(lengths[1::2]) == [6, 6, 6, 8, 8, 8]
    assert sorted(lengths[::2]) == [5, 6, 7, 8, 9, 10]
    assert runs_of_lines(replace(recipe, max_tokens=5), shards) == ()
    assert runs_of_lines(replace(recipe, min_run=7), shards) == ()
    assert runs_of_lines(replace(recipe, min_run=0), shards) == ()


def test_every_other_run_is_an_enumeration_where_the_recipe_asks_for_it(tmp_path):
    kinds: list[RecordKind] = ["line", "run", "enumeration", "enumeration", "enumeration"]
    records = [
        Record(np.arange(number + 5, dtype=np.uint32), 2, kind) for number, kind in enumerate(kinds)
    ]
    write_shards(tmp_path, [Pack.of((record, 7) for record in records)], {})
    shards = Shards(tmp_path)
    recipe = replace(fim(), max_tokens=8, min_run=4, min_enumeration=6)
    runs, enumerations = runs_of_lines(recipe, shards)
    assert [len(enumerations[index].tokens) for index in range(len(enumerations))] == [8]
    source = ShardSource(shards, [508, 509], 0, runs=[runs, enumerations])
    lengths = [len(source.draw(index).ids_S) for index in range(20)]
    assert lengths[1::2] == [6, 8] * 5
    assert sorted(lengths[::2]) == sorted([5, 6, 7, 8, 9] * 2)
    assert len(runs_of_lines(replace(recipe, min_enumeration=0), shards)) == 1


def test_shards_of_another_tokenizer_are_refused(model, shards, tmp_path):
    facts = json.loads((shards / "dataset.json").read_text())
    for name in ("tokens.bin", "records.npy"):
        (tmp_path / name).write_bytes((shards / name).read_bytes())
    (tmp_path / "dataset.json").write_text(json.dumps({**facts, "tokenizer": "another"}))
    words = ["train", "debug", "--data", tmp_path, "--out", tmp_path / "run", "--model", model]
    with pytest.raises(ShardError, match="another tokenizer"):
        app([str(word) for word in words], result_action="return_value")


def test_records_come_in_an_order_of_their_own(model, shards):
    vocabulary = read_vocabulary(model)
    source = ShardSource(Shards(shards), vocabulary.special_ids, seed=1)
    count = len(Shards(shards))
    texts = [Tokenizer(vocabulary).decode(source.draw(i).ids_S.tolist()) for i in range(count)]
    assert sorted(texts) == sorted(
        Tokenizer(vocabulary).decode(Shards(shards)[i].tokens.tolist()) for i in range(count)
    )
    assert texts[0] == Tokenizer(vocabulary).decode(source.draw(0).ids_S.tolist())
