"""Edits made of one file: corruptions, docstrings, type hints."""

import ast
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.edit_source import SOURCE, edits_of, is_python
from training.data.corruptions import CORRUPTION_KINDS, corruptions_in
from training.data.definitions import Splice, definitions_in, spliced
from training.data.edits import EDIT_KINDS, MAX_EDIT_CHARS


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
