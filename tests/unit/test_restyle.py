from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.format.plan import HolePlan
from model.format.restyle import restyle
from model.format.syntax import plan_hole

TABS = "def a():\n\tif x:\n\t\ty\n\ndef b():\n\t█\n"
TWO = "def a():\n  if x:\n    y\n\ndef b():\n  █\n"
FOUR = "def a():\n    if x:\n        y\n\ndef b():\n    █\n"


def plan_at(marked: str) -> HolePlan:
    return plan_hole("python", *marked.split("█"))


@pytest.mark.parametrize(
    ("marked", "text", "expected"),
    [
        # tabs or spaces
        (TABS, "if x:\n        y\n    z", "if x:\n\t\ty\n\tz"),
        (TABS, "if x:\n\t\ty\n\tz", "if x:\n\t\ty\n\tz"),
        (FOUR, "if x:\n\t\ty\n\tz", "if x:\n        y\n    z"),
        # how wide a level is
        (TWO, "if x:\n      y\n  z", "if x:\n    y\n  z"),
        (TWO, "if x:\n      if y:\n          z\n  a", "if x:\n    if y:\n      z\n  a"),
        (FOUR, "if x:\n      y\n    z", "if x:\n        y\n    z"),
        (FOUR.replace("    █", "█"), "    if x:\n      y", "    if x:\n        y"),
        (FOUR.replace("    █", "█"), "    else:\n        y\n    z", "    else:\n        y\n    z"),
        # what is aligned keeps its distance
        (FOUR, "f(a,\n      b)\n    z", "f(a,\n      b)\n    z"),
        (TABS, "f(a,\n      b)", "f(a,\n\t  b)"),
        # a line that was begun by hand
        (TABS.replace("█", "if x:█"), "\n        y", "\n\t\ty"),
        (TWO.replace("█", "if x:█"), "\n      y\n  z", "\n    y\n  z"),
        (TABS.replace("\t█", "█"), "    x\n    y", "\tx\n\ty"),
        (FOUR, "x\n\n    y\r\n\ty", "x\n\n    y\r\n    y"),
        # nothing to go by
        ("def b():\n  █\n", "if x:\n      y", "if x:\n      y"),
        (FOUR.replace("█", '"""█'), "a:\n      b", "a:\n      b"),
    ],
)
def test_the_style_of_the_file(marked: str, text: str, expected: str) -> None:
    assert restyle(text, plan_at(marked)) == expected


code = st.text(st.sampled_from("a:\n\t (")).map(str.rstrip)


@given(code, code, st.sampled_from(["\t", "  ", "    "]))
def test_growing_text_only_grows(text: str, more: str, unit: str) -> None:
    plan = replace(plan_at("x\n    █\n"), indent_unit=unit)
    assert restyle(text + more, plan).startswith(restyle(text, plan)) or more[:1] in ("\n", "")
