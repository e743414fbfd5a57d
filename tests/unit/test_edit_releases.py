"""Edits made of two releases of a file."""

import pytest

from tests.edit_source import SOURCE, changed, is_python
from training.data.hunks import NEUTRAL, instruction_of, release_edits
from training.data.releases import has_older, series_of


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
    newer = changed((old, new))
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
    newer = changed(("self.name.upper()", "self.name.title()"), ("values[1:]", "values[2:][::1]"))
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
    assert list(release_edits(SOURCE, changed((old, new)))) == []
    assert list(release_edits(SOURCE, SOURCE)) == []


def test_a_method_that_is_new_belongs_to_its_class() -> None:
    newer = changed(
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
