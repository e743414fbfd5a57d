"""Edits made of a file, of two releases of it, the records made of them, and the build of both."""

import ast
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.format.prompt import FENCE, render_chat
from model.format.rewriting import edit_question
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import read_vocabulary
from tests.tiny import tiny_vocabulary
from tests.unit.test_data_build import Index, make_wheel
from tests.unit.test_data_build import model as model
from training.data.corruptions import CORRUPTION_KINDS, corruptions_in
from training.data.definitions import Splice, definitions_in, spliced
from training.data.edit_records import EditRecordMaker
from training.data.edits import EDIT_KINDS, MAX_EDIT_CHARS, Edit
from training.data.fetch import NoWheelError
from training.data.hunks import NEUTRAL, instruction_of, release_edits
from training.data.manifest import ManifestError, read_manifest
from training.data.pairs import choose_edits
from training.data.pipeline import build
from training.data.records import Record, RecordError
from training.data.releases import has_older, series_of
from training.data.shards import EDITS, EditShards, Pack, ShardError, Shards, file_key, write_shards
from training.data.work import Plan

VOCABULARY = tiny_vocabulary()
TOKENIZER = Tokenizer(VOCABULARY)
MAKER = EditRecordMaker(VOCABULARY)
SOURCE = '''"""A shöp, 🛒."""

import math


class Shop:
    """Sells things."""

    def __init__(self, name: str, *wares: str, size: int = 3) -> None:
        """Open it."""
        self.name, self.wares = name, wares
        self.size = size

    @property
    def label(self):
        """What stands above the döor.

        Always in capitals.
        """

        name = self.name.upper()
        return name

    async def sell(self, ware, buyer, price=1):
        if ware not in self.wares or not buyer:
            raise KeyError(ware)
        total = price * 2 + 1
        for number in range(len(self.wares)):
            if total >= number and self.wares[0] is not None:
                total -= number
            else:
                total += math.floor(price)
        await self.send(ware, buyer, "é")
        return buyer.pay(ware, total) if buyer.rich else total


def largest(values):
    best = values[0]
    for value in values[1:]:
        if value > best:
            best = value
    return best
'''


def edits_of(text: str = SOURCE, seed: int = 0, number: int = 8, name: str = "a.py") -> list[Edit]:
    return list(choose_edits(text, num_edits=number, seed=seed, name=name))


def is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


# Corruptions, docstrings, type hints


@settings(deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 9))
def test_an_edit_restores_the_file_and_parses_where_it_should(seed: int, number: int) -> None:
    for edit in edits_of(seed=seed, number=number):
        assert edit.before + edit.new + edit.after == SOURCE
        assert edit.is_sound
        assert is_python(edit.before + edit.old + edit.after) == (edit.kind != "syntax")
        assert "{name}" not in edit.instruction


def test_every_kind_is_made_and_none_too_often() -> None:
    counts = Counter(edit.kind for seed in range(200) for edit in edits_of(seed=seed, number=3))
    assert counts.keys() == set(EDIT_KINDS) - {"release"}
    assert min(counts.values()) >= 5
    num_corruptions = sum(counts[kind] for kind in CORRUPTION_KINDS)
    assert 0.5 < num_corruptions / counts.total() < 0.7
    assert max(counts[kind] for kind in CORRUPTION_KINDS) < num_corruptions / 4


def test_every_corruption_changes_what_the_code_means() -> None:
    data = SOURCE.encode()
    whole = ast.dump(ast.parse(SOURCE))
    kinds = set()
    for definition in definitions_in(data):
        if definition.node.type != "function_definition":
            continue
        for corruption in corruptions_in(data, definition.node, lambda: 0.3):
            spoiled = spliced(data, corruption.splices, 0, len(data)).decode()
            kinds.add(corruption.kind)
            if corruption.kind == "syntax":
                assert not is_python(spoiled)
            else:
                assert ast.dump(ast.parse(spoiled)) != whole
    assert kinds == set(CORRUPTION_KINDS)


def test_edits_depend_on_text_seed_and_name_only() -> None:
    assert edits_of() == edits_of()
    assert edits_of() != edits_of(seed=1)
    assert edits_of() != edits_of(name="b.py")
    places = [(edit.kind, edit.before) for edit in edits_of(number=40)]
    assert len(places) == len(set(places)) > 10


def test_docstrings_are_gone_with_their_blank_lines() -> None:
    found = {
        edit.old
        for seed in range(60)
        for edit in edits_of(seed=seed)
        if edit.kind == "docstring" and "label" in edit.old and "def __init__" not in edit.old
    }
    assert found == {
        "    @property\n    def label(self):\n"
        "        name = self.name.upper()\n        return name\n"
    }


def test_type_hints_are_gone_from_the_head() -> None:
    edit = next(
        edit for seed in range(60) for edit in edits_of(seed=seed) if edit.kind == "type_hints"
    )
    assert edit.old.startswith("    def __init__(self, name, *wares, size=3):\n")
    assert edit.new.startswith(
        "    def __init__(self, name: str, *wares: str, size: int = 3) -> None:\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x = 1\n",
        "def f(): pass\n",
        'def f():\n    """Only this."""\n',
        "def f():\n    return 1 + g(2, 3)",  # its last line has no end
        "def f():\n    'ö'; return g('```', 1 + 2)\n",
    ],
)
def test_where_nothing_can_be_done_there_is_no_edit(text: str) -> None:
    assert [edit for seed in range(20) for edit in edits_of(text, seed)] == []


def test_long_functions_are_edited_in_part() -> None:
    body = "".join(
        f"    total_{n} = total_{n - 1} + compute(total_{n - 1}, {n})\n" for n in range(99)
    )
    text = f'def add(total: int) -> int:\n    """Add."""\n{body}    return total\n'
    edits = [edit for seed in range(8) for edit in edits_of(text, seed)]
    assert {"docstring", "type_hints"} <= {edit.kind for edit in edits}
    assert all(edit.is_sound and edit.before + edit.new + edit.after == text for edit in edits)
    assert max(len(edit.new) for edit in edits) <= MAX_EDIT_CHARS < len(text)


def test_splices() -> None:
    assert spliced(b"0123456789", [Splice(7, 8), Splice(2, 4, b"abc")], 1, 9) == b"1abc4568"


# Releases


def lines(*changes: tuple[str, str]) -> str:
    text = SOURCE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("old", "new", "instruction"),
    [
        ("best", "champion", "Rename `best` to `champion`."),
        ("math.floor", "math.ceil", "Use `ceil` instead of `floor`."),
        ("price=1):", "price=1, tip=0):", "Add the parameter `tip`."),
        ("price=1):", "price=1, tip=0, *rest):", "Add the parameters `tip` and `rest`."),
        ("buyer, price=1):", "buyer):", "Remove the parameter `price`."),
        (
            "raise KeyError(ware)",
            "raise ValueError(ware)",
            "Use `ValueError` instead of `KeyError`.",
        ),
        ("return name\n", "return name.strip(' ')\n", "Call `name.strip`."),
        ("        name = self.name.upper()\n", "", "Remove what is no longer needed."),
        ("    def label", "    @cached\n    def label", "Decorate it with `cached`."),
    ],
)
def test_the_words_of_a_change(old: str, new: str, instruction: str) -> None:
    newer = lines((old, new))
    edits = list(release_edits(SOURCE, newer))
    assert [edit.instruction for edit in edits] == [instruction]
    edit = edits[0]
    assert edit.before + edit.old + edit.after == SOURCE
    assert edit.before + edit.new + edit.after == newer
    assert edit.kind == "release"


def test_words_that_a_change_itself_does_not_show() -> None:
    old, new = "x = open(p)\n", "try:\n    x = open(p)\nexcept OSError:\n    x = None\n"
    assert instruction_of(old, new) == "Handle `OSError`."
    assert instruction_of("x = 1\n", "raise TypeError\n") == "Raise `TypeError` where it is due."
    assert instruction_of("x(1)\n", "") == "Remove what is no longer needed."
    # A constant is no name that could be renamed.
    assert instruction_of("f(True)\ng(True)\n", "f(x)\ng(x)\n") == NEUTRAL


def test_each_change_is_an_edit_by_itself() -> None:
    newer = lines(("self.name.upper()", "self.name.title()"), ("values[1:]", "values[2:][::1]"))
    edits = list(release_edits(SOURCE, newer))
    assert len(edits) == 2
    for edit in edits:
        assert edit.before + edit.old + edit.after == SOURCE
        assert is_python(edit.before + edit.new + edit.after)
        assert edit.before + edit.new + edit.after not in (SOURCE, newer)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("size: int = 3", "size: int = 4"),  # a number
        ('buyer, "é"', "buyer, 'é'"),  # quotes
        ("(values):\n", "(\n    values,\n):\n"),  # layout
        ("return best", "return best  # the largest"),  # a comment
        ("import math", "import cmath"),  # in no definition
        ("Sells things", "Sells all things"),  # prose
        ("Always in capitals.", "Always in capitals,\n        and never in red."),
        ("return best\n", "return best\n\n\ndef other():\n    return 1\n"),  # outside of both
        ("return best\n", "".join(f"a{n}()\n    " for n in range(30)) + "return best\n"),  # long
    ],
)
def test_changes_that_teach_nothing_are_left_out(old: str, new: str) -> None:
    assert list(release_edits(SOURCE, lines((old, new)))) == []
    assert list(release_edits(SOURCE, SOURCE)) == []


def test_a_method_that_is_new_belongs_to_its_class() -> None:
    newer = lines(
        ("    @property\n", "    def shut(self):\n        self.size = 0\n\n    @property\n")
    )
    (edit,) = release_edits(SOURCE, newer)
    assert "def shut" in edit.new
    assert edit.before + edit.new + edit.after == newer


def test_series() -> None:
    versions = {"2.3.4": "2.3", "2025.10.1": "2025.10", "7": "7", "1!2.0": "1!2.0", "x": "x"}
    assert {version: series_of(version) for version in versions} == versions
    drawn = sum(has_older(f"p{n}", 0) for n in range(1000))
    assert 200 < drawn < 300
    assert not any(has_older("cpython", seed) for seed in range(20))


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
            f"{edit.instruction}\n```python\n{edit.old}```<|im_end|>\n"
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
        "Do it.\n```python\nold()\n```"
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
        for record in MAKER.make(SOURCE, lines(("best", "first")), seed=3, name=name)
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


# Builds


class Older:
    """A folder of wheels of older releases; notes what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log.txt"

    def __call__(self, name: str, version: str, folder: Path) -> Path:
        with self.log.open("a") as log:
            log.write(f"{name}<{version} ")
        found = sorted(self.folder.glob(f"{name}-*.whl"))
        if not found:
            raise NoWheelError("no wheel")
        copy = folder / found[-1].name
        copy.write_bytes(found[-1].read_bytes())
        return copy

    @property
    def asked(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


def shop(owner: str) -> str:
    """A module like no other, with something to edit."""
    words = "".join(f"{owner}_{n} = open_{owner}({n}, {owner!r})\n" for n in range(40))
    return f"{words}\n\ndef {owner}_total({owner}, count):\n    return pay({owner}, count)\n"


@pytest.fixture
def plan(tmp_path: Path, model: Path) -> Plan:
    """Two good packages, one copyleft; two that became permissive or vanished before."""
    newest, before = tmp_path / "newest", tmp_path / "before"
    newest.mkdir()
    before.mkdir()
    names = ("alpha", "beta", "gamma", "delta", "eps")
    for name in names:
        licence = "GPL-3.0-only" if name == "gamma" else "MIT"
        files = {f"{name}/one.py": shop(name), f"{name}/two.py": shop(name + "two")}
        files[f"{name}/tests/test_one.py"] = shop(name + "test")
        make_wheel(newest / f"{name}-2.5.1-py3-none-any.whl", files, licence)
        if name != "eps":
            licence = "GPL-3.0-only" if name == "delta" else "MIT"
            files = {path: text.replace("pay(", "buy(") for path, text in files.items()}
            files[f"{name}/gone.py"] = shop("gone")
            make_wheel(before / f"{name}-2.4-py3-none-any.whl", files, licence)
    seed = next(s for s in range(10_000) if all(has_older(name, s) for name in names))
    return Plan(
        *(tmp_path / "out", names, model),
        seed=seed,
        fetch=Index(newest),
        edits=True,
        fetch_older=Older(before),
    )


def edit_texts(plan: Plan) -> dict[str, str]:
    """The text of all records of each kind."""
    tokenizer, shards = Tokenizer(read_vocabulary(plan.model)), EditShards(plan.out)
    texts: dict[str, str] = {}
    for number in range(len(shards)):
        record = shards[number]
        text = texts.get(record.kind, "") + tokenizer.decode(record.tokens.tolist())
        texts[record.kind] = text
    return texts


def outputs(folder: Path) -> Mapping[str, bytes]:
    names = ("edits-tokens.bin", "edits-records.npy", "edits.json", "older.jsonl", "dataset.json")
    return {name: (folder / name).read_bytes() for name in names}


def asked(plan: Plan) -> str:
    assert isinstance(plan.fetch_older, Older)
    return plan.fetch_older.asked


def test_a_build_makes_edits_of_what_was_kept_only(plan: Plan) -> None:
    facts = build(plan).facts
    texts = edit_texts(plan)
    everything = "".join(texts.values())
    assert "Use `pay` instead of `buy`." in texts["release"]
    assert "alpha_total" in texts["release"]
    for refused in ("gamma", "gone", "alphatest"):
        assert refused not in everything
    # The older releases of these were copyleft, or there were none; their newest ones are good.
    assert "delta" not in texts["release"]
    assert "delta_total" in everything
    assert "eps_total" in everything
    older = read_manifest(plan.out / "older.jsonl")
    assert {(e.name, e.version, e.num_files) for e in older.values()} == {
        ("alpha", "2.4", 2),
        ("beta", "2.4", 2),
    }
    assert asked(plan).split() == ["alpha<2.5", "beta<2.5", "delta<2.5", "eps<2.5"]
    edits = facts["edits"]
    assert edits["num_records"] == len(EditShards(plan.out)) == sum(edits["kinds"].values())
    assert edits["kinds"]["release"] == 4
    assert edits["num_older_releases"] == 2
    assert not list(plan.out.glob("work/wheel-*"))


def test_edits_change_nothing_else_and_a_build_goes_on(plan: Plan, tmp_path: Path) -> None:
    build(replace(plan, edits=False))
    plain = (plan.out / "tokens.bin").read_bytes()
    assert not (plan.out / "edits.json").exists()
    assert asked(plan) == ""
    build(plan)
    assert (plan.out / "tokens.bin").read_bytes() == plain
    once, first = asked(plan), outputs(plan.out)
    # A part and a pack that a kill has left unwritten are made again, and nothing else.
    next(plan.out.glob("work/older-*/*/beta.jsonl.gz")).unlink()
    next(plan.out.glob("work/edits-*/alpha-*.npz")).unlink()
    build(plan)
    assert asked(plan) == once + "beta<2.5 "
    assert outputs(plan.out) == first
    again = replace(plan, out=tmp_path / "again")
    build(again)
    assert outputs(again.out) == first


def test_older_releases_are_pinned_beside_the_manifest(plan: Plan, tmp_path: Path) -> None:
    build(plan)
    assert isinstance(plan.fetch, Index)
    newest, before = plan.fetch.folder, tmp_path / "before"
    for wheel in before.glob("*-2.4-*.whl"):
        (newest / wheel.name).write_bytes(wheel.read_bytes())
    for name in ("alpha", "beta"):
        make_wheel(before / f"{name}-2.4.1-py3-none-any.whl", {f"{name}/one.py": shop("later")})
    pinned = replace(plan, out=tmp_path / "pinned", manifest=plan.out / "manifest.jsonl")
    build(pinned)
    assert outputs(pinned.out) == outputs(plan.out)
    (newest / "alpha-2.4-py3-none-any.whl").unlink()
    with pytest.raises(ManifestError, match=r"alpha 2\.4 of the manifest cannot be had"):
        build(replace(pinned, out=tmp_path / "lost"))


def test_benchmarks_are_left_out_of_older_releases(plan: Plan, tmp_path: Path) -> None:
    benchmark = tmp_path / "benchmark"
    benchmark.mkdir()
    text = shop("alpha").replace("pay(", "buy(")[-110:]
    (benchmark / "tasks.json").write_text(json.dumps([text]))
    build(replace(plan, decontaminate=benchmark))
    release = edit_texts(plan)["release"]
    assert "beta_total" in release
    assert "alphatwo_total" in release
    assert "alpha_total" not in release
