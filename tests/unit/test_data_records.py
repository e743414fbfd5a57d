"""Holes, the token records made of them, and the shards that hold those."""

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.format.syntax import plan_hole
from model.format.tokenizer import Tokenizer
from sampler.context import ContextLimits, build_context
from sampler.messages import Complete
from tests.tiny import tiny_vocabulary
from training.data import holes as holes_module
from training.data.holes import Hole, choose_holes, line_holes
from training.data.records import END, Record, RecordError, RecordMaker, fingerprint
from training.data.shards import Pack, ShardError, Shards, file_key, write_shards
from training.data.shuffle import place

VOCABULARY = tiny_vocabulary()
TOKENIZER = Tokenizer(VOCABULARY)
MAKER = RecordMaker(VOCABULARY)
END_ID = VOCABULARY.tokens.index(END)
TEXT = Path(holes_module.__file__).read_text()
SMALL = 'def greet(name):\n    message = f"Hé, {name}!"\n    return message\n'


def test_holes_are_spread_and_drawn_by_their_shares() -> None:
    holes = [
        hole
        for name in range(100)
        for hole in choose_holes(TEXT, num_holes=10, seed=1, name=str(name))
    ]
    counts = Counter(hole.kind for hole in holes)
    # Within three standard deviations of what they should be.
    syntax = [counts[kind] for kind in ("line", "rest", "block", "argument", "run")]
    assert abs(sum(syntax) / 1000 - 0.60) < 0.05
    assert abs(counts["span"] / 1000 - 0.25) < 0.05
    assert abs(counts["file"] / 1000 - 0.15) < 0.05
    assert min(syntax) > 50
    for hole in holes:
        assert 0 <= hole.start < hole.end <= len(TEXT)
    assert len({hole.start * 10 // len(TEXT) for hole in holes[:10]}) > 7


def test_holes_depend_on_seed_and_name_only() -> None:
    def drawn(seed: int, name: str) -> list[Hole]:
        return list(choose_holes(TEXT, num_holes=20, seed=seed, name=name))

    assert drawn(1, "a") == drawn(1, "a")
    assert drawn(1, "a") != drawn(2, "a")
    assert drawn(1, "a") != drawn(1, "b")


def test_offsets_count_characters() -> None:
    text = "# é😀\n" * 5 + SMALL
    lines = {
        text[hole.start : hole.end].strip()
        for seed in range(40)
        for hole in choose_holes(text, num_holes=1, seed=seed, name="a")
        if hole.kind == "line"
    }
    assert lines == {line.strip() for line in SMALL.splitlines()}


def test_a_run_is_any_lines_of_a_function() -> None:
    text = (
        'LIMIT = 1  # é\n\n\ndef find(it):\n    """Doc."""\n    # é\n    for one in it:\n'
        "        if one:\n            return one\n\n    return None\n\n\nclass A:\n    x = 1\n"
        "    def f(self): return 1\n"
    )
    runs = {
        text[hole.start : hole.end]
        for name in range(1_200)
        for hole in choose_holes(text, num_holes=1, seed=0, name=str(name))
        if hole.kind == "run"
    }
    lines = ["# é", "for one in it:", "    if one:", "        return one", "", "return None"]
    body = [line and f"    {line}" for line in lines]
    expected = {
        "\n".join(body[first : last + 1])
        for first in range(6)
        for last in range(first, 6)
        if body[first] and body[last]
    }
    indented = {run for run in runs if run.startswith(" ")}
    assert indented | {run.lstrip() for run in runs} <= expected | {
        run.lstrip() for run in expected
    }
    assert len({run.lstrip() for run in runs}) == len(expected)
    assert indented != runs, "sometimes the cursor stands behind the blanks"


def check_enumeration(text: str, *first: str, num_holes: int) -> None:
    """Whether a text's enumerations begin with these lines, each ends as far off as it should, and
    so many there are."""
    holes = [
        (text[:start].count("\n"), text[:end].count("\n"))
        for start, ends in line_holes(text).get("enumeration", ())
        for end in ends
    ]
    lines = text.split("\n")
    assert tuple(dict.fromkeys(lines[start].strip() for start, _ in holes)) == first
    assert len(holes) == num_holes
    assert all(text.startswith("\n", len("\n".join(lines[: end + 1]))) for _, end in holes)


LADDER = "".join(f"    {'el' * (n > 1)}if n == {n}:\n        m = {n}\n" for n in range(1, 6))


def test_an_enumeration_is_several_items_of_a_sequence() -> None:
    # Of five clauses it begins in the first or second: at four lines. Those of the first end with
    # one of the six lines of the third to fifth, those of the second with one of the last four.
    function = f"def f(n):\n{LADDER}    return m\n"
    first = ("if n == 1:", "m = 1", "elif n == 2:", "m = 2")
    check_enumeration(function, *first, num_holes=2 * 6 + 2 * 4)
    check_enumeration(function.replace("elif n == 5", "else"), *first, num_holes=2 * 6 + 2 * 4)
    check_enumeration(function.replace("elif n == 3", "if n == 3"), num_holes=0)  # two and three
    cases = "match n:\n" + "".join(f"    case {n}: pass\n" for n in range(6))
    check_enumeration(cases, "case 0: pass", "case 1: pass", "case 2: pass", num_holes=4 + 3 + 2)


@pytest.mark.parametrize(
    ("line", "num_holes"),
    [
        ("self.a{} = 1", 5),
        ("A{} = 1  # é", 5),
        ("table[{}] = one({})", 5),
        ("parser.add(a{})\n", 5),
        ("if a == {}: return", 5),
        ("a{0} = b{0}(1)", 0),
        ("f{}()", 0),
        ("return {}", 0),
        ("'a{}'", 0),
    ],
)
def test_statements_that_begin_alike_are_a_sequence(line: str, num_holes: int) -> None:
    lines = [line.format(number, number) for number in range(5)]
    first = [line.strip() for line in lines[:2]] if num_holes else []
    check_enumeration("x = y.z\n" + "\n".join(lines) + "\n", *first, num_holes=num_holes)


@pytest.mark.parametrize("brackets", ["[]", "()", "{}"])
def test_items_of_a_table_are_a_sequence_where_each_has_its_line(brackets: str) -> None:
    before, behind = brackets
    items = [f"{number}," for number in range(5)]
    rows = "\n".join([f"x = {before}", *items, f"{behind}\n"])
    check_enumeration(rows, "0,", "1,", num_holes=3 + 2)
    check_enumeration(rows.replace("4,\n", "4"), "0,", "1,", num_holes=3 + 2)
    check_enumeration(rows.replace(f"{before}\n", before), num_holes=0)  # four have
    check_enumeration(rows.replace("\n", " ") + "\n", num_holes=0)
    # Of tables in a table, the inner ones are sequences, too.
    pairs = "\n".join(f"{number}: {number}," for number in range(5))
    check_enumeration(f"x = {{0: {{\n{pairs}\n}}}}\n", "0: 0,", "1: 1,", num_holes=3 + 2)


def test_enumerations_are_drawn_and_mostly_go_on_below() -> None:
    table = "TABLE = {\n" + "".join(f"    'é{n}': {n},\n" for n in range(12)) + "}\n"
    holes = [
        hole
        for name in range(600)
        for hole in choose_holes(table, num_holes=1, seed=0, name=str(name))
        if hole.kind == "enumeration"
    ]
    texts = [table[hole.start : hole.end] for hole in holes]
    assert len(texts) > 50
    assert all(text.count("\n") >= 2 and text.endswith(",") for text in texts)
    assert {text.startswith(" ") for text in texts} == {True, False}
    at_end = sum(table.startswith("\n}", hole.end) for hole in holes)
    assert 0 < at_end < len(texts) / 3


@pytest.mark.parametrize("layout", ["spm", "psm"])
@pytest.mark.parametrize("cursor", ["message = f", "sage = f", '"\n    return', "def greet"])
def test_a_record_is_the_prompt_of_inference_then_the_middle_and_the_end(
    layout: str, cursor: str
) -> None:
    start = SMALL.index(cursor)
    end = start + 5
    record = MAKER.fill(SMALL, Hole("line", start, end), layout, chars_per_token=2.0)
    assert record is not None
    plan = plan_hole("python", SMALL[:start], SMALL[end:])
    request = Complete("1", "a", SMALL[:start], SMALL[end:], plan, layout=layout)
    asked = build_context(request, VOCABULARY, TOKENIZER, ContextLimits(1024))
    tokens = record.tokens.tolist()
    assert tokens[: record.target_start] == asked.tokens[: len(asked.tokens) - asked.num_healed]
    assert tokens[record.target_start :] == [
        *TOKENIZER.encode(asked.required + SMALL[start:end]),
        END_ID,
    ]


@given(st.data())
def test_a_record_spells_the_text_around_and_in_the_hole(data: st.DataObject) -> None:
    text = data.draw(st.text("ab_é😀 \n(=", max_size=60))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    record = MAKER.fill(text, Hole("span", start, end), "spm", chars_per_token=4.0)
    assert record is not None
    tokens = record.tokens.tolist()
    assert VOCABULARY.fim is not None
    assert tokens[:2] == [VOCABULARY.fim.prefix, VOCABULARY.fim.suffix]
    assert tokens[-1] == END_ID
    middle = tokens.index(VOCABULARY.fim.middle)
    assert TOKENIZER.decode(tokens[2:middle]) == text[end:]
    assert TOKENIZER.decode(tokens[middle + 1 : -1]) == text[:end]
    assert record.target_start <= len(tokens) - 1


def test_records_are_cut_to_their_length_and_about_as_long_as_the_file() -> None:
    maker = RecordMaker(VOCABULARY, max_tokens=256)
    made = list(maker.make(TEXT, seed=3, name="p/a.py"))
    lengths = [len(one.record.tokens) for one in made]
    assert max(lengths) <= 256
    num_tokens = len(TOKENIZER.encode(TEXT))
    assert 0.4 * num_tokens < sum(lengths) <= 1.05 * num_tokens
    assert {one.layout for one in made} == {"spm", "psm", "plain"}
    again = list(maker.make(TEXT, seed=3, name="p/a.py"))
    assert [one.record.tokens.tolist() for one in again] == [
        one.record.tokens.tolist() for one in made
    ]


def test_a_whole_file_is_read_from_its_second_token_on() -> None:
    def read(max_tokens: int) -> Record:
        maker = RecordMaker(VOCABULARY, max_tokens=max_tokens)
        made = (one for seed in range(99) for one in maker.make(SMALL, seed=seed, name="a"))
        return next(one.record for one in made if one.record.kind == "file")

    whole = read(1024)
    assert whole.tokens.tolist() == [*TOKENIZER.encode(SMALL), END_ID]
    assert whole.target_start == 1
    # Where it is cut, nothing ends.
    assert read(len(whole.tokens) - 1).tokens.tolist() == TOKENIZER.encode(SMALL)


def test_a_middle_that_is_too_long_makes_no_record() -> None:
    hole = Hole("span", 0, 3000)
    assert MAKER.fill(TEXT[:4000], hole, "spm", chars_per_token=2.0) is None


def test_a_vocabulary_without_holes_is_refused() -> None:
    with pytest.raises(RecordError, match="filling in the middle"):
        RecordMaker(replace(VOCABULARY, fim=None))


def test_fingerprints_tell_tokenizers_apart() -> None:
    assert fingerprint(VOCABULARY) == fingerprint(tiny_vocabulary())
    assert fingerprint(VOCABULARY) != fingerprint(replace(VOCABULARY, merges=()))


# Shuffle


@given(st.integers(1, 300), st.integers(0, 2**70), st.integers(0, 5))
def test_each_epoch_is_a_permutation(num_records: int, seed: int, epoch: int) -> None:
    steps = range(epoch * num_records, (epoch + 1) * num_records)
    places = [place(step, num_records, seed) for step in steps]
    assert sorted(places) == list(range(num_records))


def test_epochs_and_seeds_differ_and_the_order_is_mixed() -> None:
    first = [place(step, 1000, 1) for step in range(1000)]
    assert first != [place(1000 + step, 1000, 1) for step in range(1000)]
    assert first != [place(step, 1000, 2) for step in range(1000)]
    # Of a random permutation a rank correlation beyond 4 standard deviations does not occur.
    assert abs(np.corrcoef(first, range(1000))[0, 1]) < 4 / np.sqrt(1000)
    assert sum(abs(a - b) == 1 for a, b in pairwise(first)) < 12


def test_the_order_does_not_change() -> None:
    """A run that goes on after an update has to see the records that it has not seen."""
    assert [place(step, 10, 7) for step in range(20)] == GOLDEN_ORDER


GOLDEN_ORDER = [2, 4, 6, 1, 5, 3, 7, 0, 9, 8, 6, 3, 2, 0, 9, 8, 1, 7, 4, 5]


# Shards


def pack(*files: str, records: int = 3) -> Pack:
    return Pack.of(
        (Record(np.arange(5 + number, dtype=np.uint32) + len(text), 2, "span"), file_key(text))
        for text in files
        for number in range(records)
    )


def test_shards_give_back_what_was_written(tmp_path: Path) -> None:
    facts = write_shards(tmp_path, [pack("a", "bb"), pack(), pack("ccc")], {"seed": 4})
    shards = Shards(tmp_path)
    assert shards.facts == json.loads(json.dumps(facts))
    assert facts["num_records"] == len(shards) == 9
    assert facts["num_files"] == 3
    assert facts["num_tokens"] == shards.lengths.sum() == 3 * (5 + 6 + 7)
    assert facts["seed"] == 4
    last = shards[8]
    assert last.tokens.tolist() == [3, 4, 5, 6, 7, 8, 9]
    assert last.tokens.dtype == np.uint32
    assert (last.target_start, last.kind) == (2, "span")
    assert shards.place(11, seed=3) == place(11, 9, 3)


def test_both_sides_of_a_split_share_no_file(tmp_path: Path) -> None:
    write_shards(tmp_path, [pack(*(f"file {number}" for number in range(200)))], {})
    train, held_out = Shards(tmp_path).split(0.2)
    assert len(train) + len(held_out) == 600
    assert 60 < len(held_out) < 180
    sides = [{int(file) for file in side._index["file"]} for side in (train, held_out)]
    assert sides[0].isdisjoint(sides[1])
    assert len(held_out) % 3 == 0
    assert len(Shards(tmp_path).split(0.0)[1]) == 0
    # A larger data set holds out the same files.
    write_shards(tmp_path, [pack(*(f"file {number}" for number in range(150)))], {})
    _, fewer = Shards(tmp_path).split(0.2)
    assert {int(file) for file in fewer._index["file"]} <= sides[1]


@pytest.mark.parametrize("broken", ["nothing", "no facts", "other", "short", "index", "empty"])
def test_unfinished_foreign_and_damaged_folders_are_refused(tmp_path: Path, broken: str) -> None:
    why = {
        "nothing": "holds no finished data set",
        "no facts": "holds no finished data set",
        "other": "of another version",
        "short": "is damaged",
        "index": "is damaged",
        "empty": "holds no records",
    }[broken]
    if broken != "nothing":
        write_shards(tmp_path, [] if broken == "empty" else [pack("a")], {})
    if broken == "no facts":
        (tmp_path / "dataset.json").unlink()
    elif broken == "other":
        (tmp_path / "dataset.json").write_text('{"format": 99}')
    elif broken == "short":
        (tmp_path / "tokens.bin").write_bytes(b"1234")
    elif broken == "index":
        (tmp_path / "records.npy").write_bytes(b"1234")
    with pytest.raises(ShardError, match=why):
        Shards(tmp_path)
