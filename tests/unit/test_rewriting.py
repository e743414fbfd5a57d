"""Questions about code, what of an answer is used, and what is said about the result."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.format.answers import sufficient, take
from model.format.edit_checks import does, faults, parses_no_worse
from model.format.plan import HolePlan
from model.format.prompt import FENCE
from model.format.rewriting import ACTIONS, action_named, is_offered, outline, question_for
from model.format.selection import Selection, select
from model.format.settle import settle
from tests.fakes import CURSOR


def selected(text: str, *, language: str = "python") -> Selection:
    """The selection at a cursor mark, between two of them, or of all of it."""
    parts = text.split(CURSOR)
    plain = "".join(parts)
    start = len(parts[0]) if len(parts) > 1 else 0
    end = start + (len(parts[1]) if len(parts) > 2 else 0)
    selection = select(language, plain, start, end if len(parts) > 1 else len(plain))
    assert selection is not None
    return selection


def taken(name: str, old: str, answer: str) -> str:
    action = action_named(name)
    assert action is not None
    return take(action, selected(old), answer).code


METHOD = """import json
import os
from typing import Any

class Cart(Base):

    def add(self, item, *rest, count=1, note=None, **more):
        # the total
        return json.dumps(item)
"""


def test_the_question_holds_what_matters() -> None:
    selection = selected(METHOD.replace("return", f"{CURSOR}return"))
    action = action_named("rewrite")
    assert action is not None
    question = question_for(action, selection, detail="Sort the keys.")
    assert question == (
        "Code before:\n```python\nimport json\nclass Cart(Base):\n```\n\n"
        "```python\ndef add(self, item, *rest, count=1, note=None, **more):\n"
        "    # the total\n    return json.dumps(item)\n```\n\nSort the keys."
    )
    again = question_for(action, selection, detail="Sort the keys.", attempt=1)
    assert "\n```\n\nSort the keys. Give back the whole code.\n```python\ndef add(" in again
    assert outline(selection, max_chars=20) == "class Cart(Base):\n"
    assert "`" not in outline(selected(f"x = '```'\n{CURSOR}def f(): pass\n"))


def test_types_change_signatures_only() -> None:
    old = METHOD.replace("return", f"{CURSOR}return")
    answer = """from typing import Dict, List, Optional

class Item: ...

class Cart:
    def add(self, item: Dict[str, any], *rest: Optional[int], count: int = 2,
            note: Optional[List[str]] = None, **more: Item) -> str:
        print("hello")
"""
    assert taken("types", old, answer) == (
        "def add(self, item: dict[str, Any], *rest: int | None, count: int = 1, "
        "note: list[str] | None = None, **more) -> str:\n"
        "    # the total\n    return json.dumps(item)\n"
    )
    action = action_named("types")
    assert action is not None
    need = take(action, selected("def f(a):\n    pass\n"), "def f(a: Iterable[int]): pass")
    assert need.code == "def f(a: Iterable[int]):\n    pass\n"
    assert need.needs == ("from typing import Iterable",)


def test_a_docstring_is_all_that_is_added() -> None:
    old = "def f(\n    a,\n):\n    # here\n    return a\n\ndef g(): return 1\n"
    answer = (
        'def f(a):\n    """\n    Give it\n    back\n\n    Args:\n    a: x\n    """\n    return 2\n'
    )
    assert taken("docstring", old, answer) == (
        'def f(\n    a,\n):\n    """Give it back."""\n    # here\n    return a\n'
        "\ndef g(): return 1\n"
    )
    long = taken("docstring", "def f():\n    return 1\n", f'def f():\n    """{"word " * 40}"""\n')
    assert max(map(len, long.splitlines())) < 100
    assert long.endswith('word.\n    """\n    return 1\n')


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        ("types", "import os\n\ndef f(a: int) -> str:\n    retu", "def f(a: int) -> str:\n    1\n"),
        ("types", "def f(\n    a: int,\n) -> str", None),
        ("docstring", 'def f(a):\n    """Give it.', None),
        ("docstring", 'def f(a):\n    """Give it."""\n', 'def f(a):\n    """Give it."""\n    1\n'),
        (
            "docstring",
            'def f(a):\n    """\n    Give it.\n\n    Args',
            'def f(a):\n    """Give it."""\n    1\n',
        ),
        ("simplify", "def f(a):\n    return 2\n", None),
    ],
)
def test_an_answer_need_not_be_finished(name: str, answer: str, expected: str | None) -> None:
    action, selection = action_named(name), selected("def f(a):\n    1\n")
    assert action is not None
    lengths = [i for i in range(len(answer) + 1) if sufficient(action, selection, answer[:i])]
    if expected is None:
        assert lengths == []
    else:
        for length in lengths:
            enough = sufficient(action, selection, answer[:length])
            assert enough is not None
            assert take(action, selection, enough).code == expected
    assert not lengths or lengths == [*range(lengths[0], len(answer) + 1)]
    assert sufficient(action, selected("def g(a):\n    1\n"), answer) is None


def test_a_body_is_filled_below_the_old_signature() -> None:
    old = 'def f(n: int = 3):\n    """Say n."""\n    raise NotImplementedError\n'
    answer = 'import math\n\ndef f(n):\n    """Other."""\n    # well\n    return math.floor(n)\n'
    action = action_named("body")
    assert action is not None
    result = take(action, selected(old), answer)
    assert result.code == (
        'def f(n: int = 3):\n    """Say n."""\n    # well\n    return math.floor(n)\n'
    )
    assert result.needs == ("import math",)
    assert taken("body", "def f():\n  pass\n", "def f():\n    if 1:\n        return\n") == (
        "def f():\n  if 1:\n      return\n"
    )


def test_mixed_indentation_is_mended_not_lost() -> None:
    old = f"class C:\n    {CURSOR}def f(self):\n\t\treturn 1\n"
    selection = selected(old)
    answer = take(ACTIONS[0], selection, "def f(self):\n    return 2\n").code
    assert selection.fit(answer) == "    def f(self):\n        return 2"


@pytest.mark.parametrize(
    ("old", "answer", "expected"),
    [
        ("def f():\n    a\n", "import os\n\ndef f():\n    b\n\nprint(f())\n", "def f():\n    b\n"),
        (
            "def f(self):\n    a\n",
            "class It:\n    x = 1\n\n    # c\n    def f(self):\n        b\n",
            "# c\ndef f(self):\n    b\n",
        ),
        (
            "def f():\n    a\n",
            "def g():\n    1\n\ndef h():\n    2\n\ndef f():\n    g()\n",
            "def g():\n    1\n\n\ndef f():\n    g()\n",
        ),
        ("x = 1\n", "import os\nx = os.sep\n", "x = os.sep\n"),
        ("import re\nx = 1\n", "import os\nx = os.sep\n", "import os\nx = os.sep\n"),
        ("x = 1\n", "    x = 2\n", "x = 2\n"),
    ],
)
def test_only_what_was_asked_about_is_taken(old: str, answer: str, expected: str) -> None:
    assert taken("rewrite", old, answer) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("def f(a):\n    return a\n", "def f(a):\n    return -a", []),
        ("def f(a):\n    return a\n", "def f(a, b=1):\n    return a", ["signature of `f`"]),
        ("def f(a):\n    return a\n", "def f(a: int):\n    return a", []),
        ("def _f(a):\n    return a\n", "def _f(b):\n    return b", []),
        ("def f(a):\n    return a\n", "def f(a):\n    return sum(b for b in a)", []),
        (
            "def f(a):\n    return a\n",
            "def f(a):\n    return Counter(a)",
            ["Not defined: `Counter`"],
        ),
        ("x = 1\ny = x\n", "z = 1", []),
        (f"{CURSOR}x = 1{CURSOR}\ny = x\n", "z = 1", ["no longer defined here: `x`"]),
        (f"{CURSOR}def f(): 1{CURSOR}\nf()\n", "def g(): 1", ["no longer defined here: `f`"]),
        ("def f():\n    1\n", "def g():\n    1", ["No longer defined: `f`"]),
        ("def f():\n    return 1\n", "def f():\n    return 1\n    f()", ["never be reached"]),
        ("def f():\n    return 1\n", "def f():\n    if f:\n        return 1\n    f()", []),
        ("def f():\n    return 1\n    f()\n", "def f():\n    return 2\n    f()", []),
        (
            "def f(a):\n    return a\n",
            "def f(a):\n    try:\n        with open(a) as b, c() as (d, *e):\n"
            "            return {k: v for k, (v, *w) in d.items() if (m := k)}, b, e, m\n"
            "    except ValueError as error:\n        raise TypeError from error\n"
            "    match a:\n        case [x, *y] if x:\n            return lambda q, *r: (q, r, y)\n"
            "    import os.path as p, sys\n    global h\n    return p, sys, h, a.anything(key=1)",
            ["Not defined: `c`"],
        ),
    ],
)
def test_what_was_not_kept_is_said(old: str, new: str, expected: list[str]) -> None:
    found = faults(selected(old), new)
    assert len(found) == len(expected), found
    assert all(words in fault for words, fault in zip(expected, found, strict=True)), found


def test_syntax_may_be_as_broken_as_before() -> None:
    assert parses_no_worse(selected("def f(a):\n    return a\n"), "def f(a):\n    return -a")
    assert not parses_no_worse(selected("def f(a):\n    return a\n"), "def f(a:\n    return a")
    assert parses_no_worse(selected("x = (\n"), "x = (1")
    assert parses_no_worse(selected("Dear all,\n", language="text"), "Dear (")


def test_strings_say_the_same_when_they_are_converted() -> None:
    old = "x = '%s: {}' % a + '{:.2f} %'.format(b)\n"
    good = "x = f'{a}: {{}}' + f'{b:.2f} %'\n"
    assert taken("fstring", old, good) == good
    assert taken("fstring", old, "x = f'{a}: {{}}' + f'${b:.2f} %'\n") == ""


def test_something_else_is_no_answer() -> None:
    assert taken("simplify", "def f():\n    1\n", "class Cart:\n    x = 1\n") == ""
    wish = "Rename f to g"
    assert faults(selected("def f():\n    1\n"), "def g():\n    1", wish=wish) == []


def test_a_signature_may_change_if_that_was_the_wish() -> None:
    selection = selected("def f(a):\n    return a\n")
    assert faults(selection, "def f(a, b):\n    return a", wish="Add a parameter b") == []


OFFERED = {
    "types": ("def f(a): pass", "def f(a: int) -> None: pass"),
    "docstring": ("def f(a): pass", 'def f(a):\n    """Do."""'),
    "body": ('def f(a):\n    """Do."""\n    ...', "def f(a): return 1"),
    "errors": ("open(a)", "a = 1"),
    "fstring": ("'%s' % a", "f'{a}'"),
    "comprehension": (
        "for a in b:\n    if a:\n        c.d.append(a)",
        "for a in b:\n    c.append(a)\n    print(a)",
    ),
    "loop": ("x = [a for a in b]", "x = [a]"),
}


@pytest.mark.parametrize("name", OFFERED)
def test_an_action_is_offered_where_it_has_something_to_do(name: str) -> None:
    action = action_named(name)
    assert action is not None
    yes, no = OFFERED[name]
    assert is_offered(action, selected(yes + "\n"))
    assert not is_offered(action, selected(no + "\n"))


def test_other_languages_get_what_can_be_done_there() -> None:
    go = selected("func f() int {\n\treturn g()\n}\n", language="go")
    names = [action.name for action in ACTIONS if is_offered(action, go)]
    assert names == ["rewrite", "fix", "simplify", "errors"]
    text = selected("Dear all,\n", language="text")
    assert [it.name for it in ACTIONS if is_offered(it, text)] == ["rewrite", "fix"]
    stub = selected("function f(a) {\n  // TODO\n}\n", language="javascript")
    action = action_named("body")
    assert action is not None
    assert is_offered(action, stub)
    answer = "function f(a) {\n  return a;\n}\nconsole.log(f(1));\n"
    assert take(action, stub, answer).code == "function f(a) {\n  return a;\n}\n"


@given(st.text(alphabet='ab`\n )"', max_size=30), st.booleans())
def test_an_answer_ends_at_the_fence_and_nowhere_else(text: str, is_fenced: bool) -> None:
    plan = HolePlan("python", "answer", 1000, "", "", "", FENCE)
    lines = text.split("\n")
    is_inside = any(line.startswith(FENCE) for line in lines)
    whole = f"{text}\n{FENCE}\nmore" if is_fenced else text
    end = next((i for i, line in enumerate(lines) if line.startswith(FENCE)), len(lines))
    expected = "\n".join(lines[:end]).rstrip()
    final = settle(whole, plan, is_final=True)
    assert (final.text, final.is_stopped) == (expected, is_fenced or is_inside)
    shown = ""
    for length in range(len(whole) + 1):
        settlement = settle(whole[:length], plan, is_final=False)
        assert settlement.text.startswith(shown)
        shown = settlement.text
        if settlement.is_stopped:
            assert shown == expected
            break
    assert expected.startswith(shown)


LOOPS = "out = []\nfor a in b:\n    out.append(a)\n"


@pytest.mark.parametrize(
    ("name", "language", "old", "new", "is_done"),
    [
        ("errors", "python", "f()\n", "try:\n    f()\nexcept OSError:\n    raise\n", True),
        ("errors", "python", "f()\n", "if f():\n    pass\n", False),
        ("errors", "python", "f()\n", "f()\ntry:\n    pass\nexcept OSError:\n    a\n", False),
        ("errors", "python", "a / b\n", "try:\n    a / b\nexcept Oops:\n    b\n", True),
        ("errors", "python", "a[b]\n", "try:\n    a[b]\nexcept KeyError:\n    b\n", True),
        ("errors", "javascript", "f();\n", "if (!f()) throw new Error();\n", True),
        ("errors", "go", "func f() { g() }\n", "func f() { if g() != nil { return } }\n", True),
        ("comprehension", "python", LOOPS, "out = [a for a in b]\n", True),
        ("comprehension", "python", LOOPS, "out = list(b)\n", False),
        ("loop", "python", "out = [a for a in b]\n", LOOPS, True),
        ("loop", "python", "out = [a for a in b]\n", "out = list(b)\n", False),
        ("comprehension", "python", LOOPS, f"{LOOPS}d = [a for a in b]\n", False),
        ("loop", "python", "out = [a for a in b]\n", "out = [c for c in b]\n", False),
        ("fstring", "python", "'%s' % a\n", "f'{a}'\n", True),
        ("fstring", "python", "'%s' % a\n", "'{}'.format(a)\n", False),
        ("rewrite", "python", "a = 1\n", "a = 2\n", True),
        ("errors", "text", "a b\n", "a b c\n", True),
    ],
)
def test_an_edit_is_what_its_action_is_called(
    name: str, language: str, old: str, new: str, is_done: bool
) -> None:
    assert does(name, selected(old, language=language), new) is is_done
