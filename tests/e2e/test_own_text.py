"""Records that the model writes itself, through the commands, on the debug model."""

import json

import numpy as np
import pytest

from model.format.tokenizer import Tokenizer
from model.format.vocabulary import read_vocabulary
from sampler.messages import Complete, Finished, Stats
from tests.tiny_model import write_tiny_model
from training.cli import app
from training.data.holes import Hole
from training.data.own import text_around, write_own
from training.data.records import Record, RecordMaker
from training.data.shards import Pack, ShardError, Shards, file_key, write_shards
from training.evaluation.engines import OwnEngine
from training.recipes import RecipeError
from training.source import ShardSource

TEXT = "".join(
    f"def function_{i}(argument):\n    value = argument * {i}\n    print(value)\n" for i in range(6)
)
MIDDLE = "    value = argument * 3\n    print(value)"
START = TEXT.index(MIDDLE)
HOLE = Hole("run", START, START + len(MIDDLE))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def maker(model):
    return RecordMaker(read_vocabulary(model))


@pytest.fixture(scope="module")
def shards(maker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    records = [maker.fill(TEXT, HOLE, layout, chars_per_token=2.0) for layout in ("spm", "psm")]
    write_shards(folder, [Pack.of((record, file_key(record.kind)) for record in records)], {})
    return folder


class Writer:
    """Answers with a given text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.requests: list[Complete] = []

    def complete(self, request: Complete) -> Finished:
        self.requests.append(request)
        return Finished(request.request_id, self.text, "end_of_hole", Stats())


def made_by(text, maker, shards):
    return list(write_own(Shards(shards), Writer(text), maker, limit=5))


@pytest.mark.parametrize("layout", ["spm", "psm"])
def test_the_text_around_a_hole_is_found_again(maker, layout):
    record = maker.fill(TEXT, HOLE, layout, chars_per_token=2.0)
    assert record is not None
    prefix, suffix = text_around(record, maker.fim, maker.tokenizer)
    assert prefix == TEXT[:START]
    assert suffix == TEXT[START + len(MIDDLE) :]


def test_half_a_character_is_no_text(maker):
    byte = next(i for i in range(300) if maker.tokenizer.decode([i]) == "\ufffd")
    ids = [maker.fim.prefix, maker.fim.suffix, byte, maker.fim.middle, 1, 2]
    assert text_around(Record(np.array(ids), 5, "run"), maker.fim, maker.tokenizer) is None


def test_what_the_model_wrote_takes_the_place_of_the_middle(maker, shards):
    writer = Writer("    return argument[0]  # as nobody has ever written it")
    made = list(write_own(Shards(shards), writer, maker, limit=5))
    assert len(made) == len(writer.requests) == 2
    for (record, file), request in zip(made, writer.requests, strict=True):
        assert file == file_key("run")
        ids = record.tokens.tolist()
        assert ids[1] == maker.fim.suffix, "all are spm"
        written = Tokenizer.decode(maker.tokenizer, ids[record.target_start : -1])
        assert written == writer.text
        assert text_around(record, maker.fim, maker.tokenizer) == (request.prefix, request.suffix)
        assert request.temperature == 0
    assert list(write_own(Shards(shards), Writer("x"), maker, limit=5)) == []


def test_the_command_fills_holes_with_what_the_engine_writes(
    model, shards, tmp_path, capsys, monkeypatch
):
    words = ["data", "own", "--data", shards, "--out", tmp_path, "--model", model, "--threads", 1]
    words = [str(word) for word in [*words, "--json"]]
    # A random model seldom writes what the text checks let pass.
    writer = Writer(MIDDLE)
    monkeypatch.setattr(OwnEngine, "complete", lambda _, request: writer.complete(request))
    app(words, result_action="return_value")
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (facts["written_by"], facts["num_records"]) == ("base", 2)
    writer.text = ""
    with pytest.raises(ShardError, match="filled none of these holes"):
        app(words, result_action="return_value")
    assert len(Shards(tmp_path)) == 2, "what was there is kept"


def test_every_other_record_is_of_the_models_own(model, maker, shards, tmp_path):
    own, out = tmp_path / "own", tmp_path / "run"
    write_shards(own, [Pack.of(made_by(MIDDLE, maker, shards))], {})
    source = ShardSource(Shards(shards), [508, 509], 0, own=Shards(own))
    assert [source.draw(index).is_own for index in range(4)] == [False, True] * 2
    words = ["train", "debug", "--data", shards, "--out", out, "--model", model, "--own", own]
    app([str(word) for word in [*words, "--dtype", "float32"]], result_action="return_value")
    assert (out / "adapter.safetensors").is_file()
    held_out = [(record, 0) for record, _ in made_by(MIDDLE, maker, shards)]  # the lowest hash
    write_shards(own, [Pack.of(held_out)], {})
    words = ["train", "debug", "--data", shards, "--out", out, "--model", model, "--own", own]
    with pytest.raises(ShardError, match="no record of a file that is not held out"):
        app([str(word) for word in words], result_action="return_value")
    words = ["train", "fim", "--data", shards, "--out", out, "--model", model, "--own", own]
    with pytest.raises(RecipeError, match="fim does not train on text of the model's own"):
        app([str(word) for word in words], result_action="return_value")


def test_holes_that_are_too_short_are_refused(model, maker, tmp_path):
    record = maker.fill("x = 1\n", Hole("rest", 4, 5), "spm", chars_per_token=2.0)
    assert record is not None
    write_shards(tmp_path, [Pack.of([(record, 1)])], {})
    words = ["data", "own", "--data", tmp_path, "--out", tmp_path / "own", "--model", model]
    with pytest.raises(ShardError, match="has no hole of 16 tokens and more"):
        app([str(word) for word in words], result_action="return_value")
