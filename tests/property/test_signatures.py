"""Calls carried over to another signature, judged by Python itself."""

import ast
import inspect
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from model.format.propagation import Edited, propagated
from model.format.signatures import Parameter, SignatureChange

NAMES = ("a", "b", "c", "d", "e")
CALL = re.compile(r"(?<== f)\([^()]*\)")


@st.composite
def signatures(draw: st.DrawFn) -> tuple[Parameter, ...]:
    """Any legal parameters; defaults are the numbers from 90 on, so that they can be told."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))
    kinds = sorted(draw(st.lists(st.integers(0, 2), min_size=len(names), max_size=len(names))))
    num_positional = sum(kind < 2 for kind in kinds)
    num_needed = draw(st.integers(0, num_positional))
    found: list[Parameter] = []
    named: list[Parameter] = []
    for index, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        has_default = index >= num_needed if kind < 2 else draw(st.booleans())
        default = str(90 + NAMES.index(name)) if has_default else None
        sort: Any = ("positional", "plain", "keyword")[kind]
        (found if kind < 2 else named).append(Parameter(name, sort, None, default))
    rest = [Parameter("rest", "rest")] if draw(st.booleans()) else []
    more = [Parameter("more", "more")] if draw(st.integers(0, 3)) == 0 else []
    return (*found, *rest, *named, *more)


def written(parameters: tuple[Parameter, ...]) -> str:
    """The parameters as Python."""
    texts: list[str] = []
    kinds = [it.kind for it in parameters]
    for index, it in enumerate(parameters):
        if it.kind == "keyword" and "rest" not in kinds and "keyword" not in kinds[:index]:
            texts.append("*")
        star = {"rest": "*", "more": "**"}.get(it.kind, "")
        texts.append(star + it.name + (f"={it.default}" if it.default is not None else ""))
        if it.kind == "positional" and kinds[index + 1 : index + 2] != ["positional"]:
            texts.append("/")
    return ", ".join(texts)


@st.composite
def calls(draw: st.DrawFn, parameters: tuple[Parameter, ...]) -> str:
    """The arguments of a call that suits the parameters; all values differ."""
    numbers = iter(range(1, 50))
    front, named = [], []
    is_open = True
    for it in parameters:
        if it.kind in ("positional", "plain") and is_open:
            is_left_out = it.default is not None and draw(st.booleans())
            is_open = not is_left_out and (it.kind == "positional" or draw(st.booleans()))
            if is_open:
                front.append(str(next(numbers)))
            elif not is_left_out:
                named.append(f"{it.name}={next(numbers)}")
        elif it.kind in ("plain", "keyword") and (it.default is None or draw(st.booleans())):
            named.append(f"{it.name}={next(numbers)}")
        elif it.kind == "rest" and is_open and draw(st.booleans()):
            front += [str(next(numbers)), str(next(numbers))]
        elif it.kind == "more" and draw(st.booleans()):
            named.append(f"unknown={next(numbers)}")
    gap = draw(st.sampled_from([", ", ",", ",\n    "]))
    return gap.join([*front, *draw(st.permutations(named))])


def function(parameters: str) -> Any:
    """A function that says what it got."""
    space: dict[str, Any] = {}
    exec(f"def f({parameters}): return locals()", space)
    return space["f"]


@given(st.data())
def test_calls_give_the_same_values_to_the_same_parameters(data: st.DataObject) -> None:
    old, new = data.draw(signatures()), data.draw(signatures())
    arguments = data.draw(st.lists(calls(old), min_size=1, max_size=3))
    before = f"def f({written(old)}):"
    header = f"def f({written(new)}):"
    lines = [f"x = f({it})  # f(1, b=2) ∀" for it in arguments]
    text = "\n".join(["é = 'f(1)'", header, "    return locals()", *lines, "g.f(1, a=2)", ""])
    start = text.index(header)
    found = propagated("python", text, Edited(before, start, start + len(header)))
    changed, sentence = text, ""
    if found is not None:
        sentence = found.sentence
        for hunk in reversed(found.hunks):
            changed = changed[: hunk.start] + hunk.text + changed[hunk.end :]
    assert CALL.sub("()", changed) == CALL.sub("()", text)

    change = SignatureChange(old, new)
    was, now = function(written(old)), function(written(new))
    num_lost = 0
    pairs = zip(CALL.findall(text), CALL.findall(changed), strict=True)
    for call, call_now in pairs:
        values = eval(f"f{call}", {"f": was})
        try:
            values_now = eval(f"f{call_now}", {"f": now})
            is_kept = _is_kept(change, values, values_now)
        except TypeError:
            is_kept = False
        assert is_kept or call_now == call
        num_lost += not is_kept
    left = re.search(r"(\d+) calls? could not be told", sentence)
    assert found is None or num_lost <= int(left[1] if left else 0)


def _is_kept(change: SignatureChange, values: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether each parameter that was there has the value that it had."""
    for parameter in change.new:
        origin = change.origins.get(parameter.name)
        if parameter.kind in ("rest", "more") or origin is None or origin.kind in ("rest", "more"):
            continue
        value = now[parameter.name]
        is_default = values[origin.name] == int(origin.default or 0)
        if value != values[origin.name] and not (is_default and parameter.default is not None):
            return False
    return True


@given(signatures(), signatures())
def test_a_change_that_concerns_no_call_leaves_all_calls_valid(
    old: tuple[Parameter, ...], new: tuple[Parameter, ...]
) -> None:
    if SignatureChange(old, new).concerns_calls:
        return
    was, now = (inspect.signature(function(written(it))) for it in (old, new))
    needed = [it for it in old if it.default is None and it.kind not in ("rest", "more")]
    front = [1 for it in needed if it.kind in ("positional", "plain")]
    named = {it.name: 2 for it in needed if it.kind == "keyword"}
    assert was.bind(*front, **named).arguments.keys() <= now.bind(*front, **named).arguments.keys()


def test_our_parameters_are_pythons() -> None:
    parameters = "a, /, b: int = 1, *rest: str, c, d=(1, 2), **more: int"
    node = ast.parse(f"def f({parameters}): pass").body[0]
    assert isinstance(node, ast.FunctionDef)
    names = [it.name for it in _read(f"def f({parameters}): pass\n")]
    assert names == list(inspect.signature(function(parameters)).parameters)


def _read(text: str) -> tuple[Parameter, ...]:
    from model.format.selection import tree_root
    from model.format.signatures import read_parameters

    root = tree_root("python", text)
    assert root is not None
    node = root.children[0].child_by_field_name("parameters")
    assert node is not None
    found = read_parameters(node)
    assert found is not None
    return found
