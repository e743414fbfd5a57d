"""Records made of edits, and the shards that hold them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.format.prompt import FENCE, render_chat
from model.format.rewriting import edit_question
from model.format.tokenizer import Tokenizer
from tests.edit_source import SOURCE, changed, edits_of
from tests.tiny import tiny_vocabulary
from training.data.edit_records import EditRecordMaker
from training.data.edits import Edit
from training.data.records import Record, RecordError
from training.data.shards import EDITS, EditShards, Pack, ShardError, Shards, file_key, write_shards

VOCABULARY = tiny_vocabulary()
TOKENIZER = Tokenizer(VOCABULARY)
MAKER = EditRecordMaker(VOCABULARY)

# Records


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**40), st.sampled_from([0, 100, 5_000]))
def test_a_record_is_a_question_with_the_old_code_and_the_new_code(seed: int, chars: int) -> None:
    assert VOCABULARY.chat is not None
    maker = EditRecordMaker(VOCABULARY, max_tokens=2_048)  # one of its tokens is a character or two
    for edit in edits_of(seed=seed, number=3):
        record = maker.lay_out(edit, context_chars=chars)
        assert record is not None
        tokens = record.tokens.tolist()
        assert len(tokens) <= 2_048
        assert TOKENIZER.decode(tokens[record.old_start : record.old_end]) == edit.old
        assert tokens[record.target_start :] == [
            *TOKENIZER.encode(edit.new),
            *TOKENIZER.encode(FENCE),
            VOCABULARY.chat.end,
        ]
        prompt = TOKENIZER.decode(tokens[: record.target_start])
        assert prompt.endswith(
            f"```python\n{edit.old}```\n\n{edit.instruction}<|im_end|>\n"
            "<|im_start|>assistant\n```python\n"
        )
        if not chars:
            question = edit_question(edit.instruction, edit.old)
            expected = render_chat(VOCABULARY.chat, TOKENIZER.encode, question, language="python")
            assert tokens[: record.target_start] == expected


def test_the_context_is_what_is_around_and_gives_way_to_the_edit() -> None:
    edit = Edit("release", "Do it.", "above = 1\n", "old()\n", "new()\n", "below = 2\n\n\n")
    question = edit_question(edit.instruction, edit.old, before=edit.before, after=edit.after)
    assert question == (
        "Code before:\n```python\nabove = 1\n```\n\nCode after:\n```python\nbelow = 2\n```\n\n"
        "```python\nold()\n```\n\nDo it."
    )
    fenced = replace(edit, before=f'x = """{FENCE}"""\n')
    record = MAKER.lay_out(fenced, context_chars=400)
    assert record is not None
    text = TOKENIZER.decode(record.tokens.tolist())
    assert "below" in text
    assert '"""' not in text
    far = replace(edit, before="x = 'far away'\n" * 500)
    short = EditRecordMaker(VOCABULARY, max_tokens=300).lay_out(far, context_chars=5_000)
    assert short is not None
    assert 200 < len(short.tokens) <= 300
    assert EditRecordMaker(VOCABULARY, max_tokens=60).lay_out(edit, context_chars=50) is None


def test_a_vocabulary_without_turns_is_refused() -> None:
    with pytest.raises(RecordError, match="conversation"):
        EditRecordMaker(replace(VOCABULARY, chat=None))


# Shards


def test_shards_give_edits_back_beside_other_records(tmp_path: Path) -> None:
    names = [f"{number}.py" for number in range(30)]
    made = [
        (record, file_key(name))
        for name in names
        for record in MAKER.make(SOURCE, changed(("best", "first")), seed=3, name=name)
    ]
    assert {record.kind for record, _ in made} > {"release", "docstring"}
    facts = write_shards(tmp_path, [Pack.of_edits(made[:9]), Pack.of_edits(made[9:])], {}, EDITS)
    write_shards(tmp_path, [Pack.of((Record(r.tokens, 1, "file"), k) for r, k in made)], {})
    edits, others = EditShards(tmp_path), Shards(tmp_path)
    assert len(edits) == len(others) == len(made) == facts["num_records"]
    for number, (record, _) in enumerate(made):
        read = edits[number]
        assert read.tokens.tolist() == record.tokens.tolist()
        assert (read.target_start, read.kind) == (record.target_start, record.kind)
        assert (read.old_start, read.old_end) == (record.old_start, record.old_end)
    assert sum(facts["kinds"].values()) == len(made)
    # What is held out of one is held out of the other.
    assert [len(side) for side in edits.split(0.5)] == [len(side) for side in others.split(0.5)]
    assert edits.place(7, seed=2) == others.place(7, seed=2)


def test_a_folder_without_edits_is_refused(tmp_path: Path) -> None:
    tokens = np.arange(3, dtype=np.uint32)
    write_shards(tmp_path, [Pack.of([(Record(tokens, 1, "file"), 1)])], {})
    with pytest.raises(ShardError, match="--edits"):
        EditShards(tmp_path)
