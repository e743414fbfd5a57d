"""How many edits of each action are of use: asked of the real model, judged by programs.

    python tests/bench/bench_actions.py [--action types] [--adapter none] [--show]

The cases are in `action_cases.py` and `conversion_cases.py`; answers to them were read while the
questions were written, so other code may fare worse. An edit is of use if it does what its action
is called and the code still does what it is to do: a docstring with the rest unchanged, hints that
hold for all values that go in and out, a bug that is gone, a loop that became a comprehension. The
last line is one JSON object.
"""

import argparse
import ast
import asyncio
import difflib
import json
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import torch

from lsp_server.engine_client import EngineEvent
from lsp_server.rewrite import RewriteError, Wish, rewrite
from lsp_server.settings import Settings
from model.format.rewriting import ACTIONS, Action, is_offered
from model.format.selection import Selection
from model.hub import resolve
from model.shipped import choose_adapter
from sampler.engine import Engine
from sampler.load import open_engine
from sampler.messages import Complete
from tests.bench.action_cases import CASES as ACTION_CASES
from tests.bench.action_cases import Case
from tests.bench.conversion_cases import CASES as CONVERSION_CASES
from training.evaluation.sandbox import run_program

CASES = ACTION_CASES + CONVERSION_CASES
MODEL = "qwen2.5-coder-0.5b"
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
NAMES = """\
from typing import *
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
"""
"""What hints may use; the editor says which imports are missing."""
HINTS = """
import inspect, sys, types, typing
_functions = [
    one
    for it in list(globals().values())
    for one in ([it, *vars(it).values()] if isinstance(it, type) else [it])
    if isinstance(one, types.FunctionType) and one.__module__ == "__main__"
]
_hints = {one.__code__: typing.get_type_hints(one) for one in _functions}

def _fits(value, hint):
    origin = typing.get_origin(hint) or hint
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, it) for it in typing.get_args(hint))
    if hint is typing.Any or isinstance(hint, typing.TypeVar):
        return True
    if hint is float:
        return isinstance(value, (int, float))
    if origin in (list, set, frozenset) and isinstance(value, origin):
        return all(_fits(it, inner) for inner in typing.get_args(hint) for it in value)
    return isinstance(value, origin)

def _admits_none(function, name, hint):
    parameter = inspect.signature(function).parameters.get(name)
    is_optional = parameter is not None and parameter.default is None
    return type(None) in typing.get_args(hint) and not is_optional

_wrong, _needless = [], set()
for _one in _functions:
    for _name, _hint in _hints[_one.__code__].items():
        if _admits_none(_one, _name, _hint):
            _needless.add((_one.__code__, _name))

def _look(frame, event, value):
    hints = _hints.get(frame.f_code, {})
    values = frame.f_locals if event == "call" else {}
    if event == "return":
        values = {"return": value}
    for name in set(values) & set(hints):
        if not _fits(values[name], hints[name]):
            _wrong.append(name)
        if values[name] is None:
            _needless.discard((frame.f_code, name))

sys.setprofile(_look)
"""
"""Collects hints that a value does not fit, and hints that say None where there never is one."""


class LocalEngine:
    """The engine in this process, for the server's part that asks it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def complete(self, request: Complete) -> AsyncGenerator[EngineEvent, None]:
        """See `lsp_server.rewrite.Engine`."""
        self._engine.submit(request)
        try:
            while self._engine.has_work:
                for event in self._engine.step():
                    if isinstance(event, EngineEvent):
                        yield event
        finally:
            self._engine.cancel(request.request_id)


@dataclass(frozen=True)
class Outcome:
    """What became of one case."""

    new: str
    """Empty if there is no edit."""
    problem: str
    """Empty if the edit is of use."""


def selection_of(case: Case) -> Selection:
    """All of a case's code, in its file."""
    text = case.file_head + case.code
    return Selection("python", text, len(case.file_head), len(text.rstrip("\n")))


async def try_case(engine: LocalEngine, action: Action, case: Case) -> Outcome:
    """Ask for an edit and judge it."""
    wish = Wish(action, case.detail)
    try:
        rewritten = await rewrite(
            engine,
            selection_of(case),
            wish,
            Settings(),
            document="case",
            on_progress=lambda _: None,
        )
    except RewriteError as error:
        return Outcome("", f"no edit: {error}")
    return Outcome(rewritten.new, problem(action.name, case, rewritten.new))


def problem(action: str, case: Case, new: str) -> str:
    """Why an edit is of no use; empty if it is."""
    try:
        tree, old = ast.parse(new), None if action == "fix" else ast.parse(case.code)
    except SyntaxError as error:
        return f"syntax: {error.msg}"
    wrong = "" if old is None else _wrong_form(action, old, tree)
    if wrong:
        return wrong
    setup = NAMES + case.file_head + new
    checks = (
        f"{HINTS}{case.checks}\nassert not _wrong and not _needless\n"
        if action == "types"
        else case.checks
    )
    outcome = run_program(f"{setup}\n\n{checks}", seconds=10, memory_mib=1024)
    return "" if outcome == "passed" else f"its test: {outcome}"


def _wrong_form(action: str, old: ast.Module, new: ast.Module) -> str:
    """What an action was to do and did not, by the syntax tree."""
    match action:
        case "docstring":
            if len(" ".join(_docstrings(new)).split()) < 3:
                return "no docstring"
            return "" if _bare(old) == _bare(new) else "other code"
        case "types":
            if _num_hints(new) <= _num_hints(old):
                return "no hints"
            return "" if _bare(old) == _bare(new) else "other code"
        case "comprehension":
            is_done = _count(new, *COMPREHENSIONS) and not _count(new, ast.For)
            return "" if is_done else "no comprehension"
        case "loop":
            is_done = _count(new, ast.For) and not _count(new, *COMPREHENSIONS)
            return "" if is_done else "no loop"
        case "fstring":
            is_old = _count(new, ast.Mod) or ".format(" in ast.unparse(new)
            return "" if _count(new, ast.JoinedStr) and not is_old else "no f-string"
        case "simplify":
            sizes = [sum(1 for _ in ast.walk(tree)) for tree in (old, new)]
            return "" if sizes[1] < sizes[0] else "not simpler"
        case "errors":
            olds, news = (_count(tree, ast.Raise) + _num_guarded(tree) for tree in (old, new))
            return "" if news > olds else "no error handling"
    return ""


def _count(tree: ast.AST, *kinds: type[ast.AST]) -> int:
    return sum(isinstance(node, kinds) for node in ast.walk(tree))


def _num_guarded(tree: ast.AST) -> int:
    """Of `try` statements, those around something that is called."""
    tries = [node for node in ast.walk(tree) if isinstance(node, ast.Try)]
    return sum(any(_count(it, ast.Call) for it in node.body) for node in tries)


def _docstrings(tree: ast.AST) -> list[str]:
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [ast.get_docstring(it) or "" for it in ast.walk(tree) if isinstance(it, kinds)]


def _num_hints(tree: ast.AST) -> int:
    functions = [it for it in ast.walk(tree) if isinstance(it, ast.FunctionDef)]
    arguments = [it for it in ast.walk(tree) if isinstance(it, ast.arg)]
    hints = [it.returns for it in functions] + [it.annotation for it in arguments]
    return sum(hint is not None for hint in hints)


def _bare(tree: ast.AST) -> str:
    """Code without docstrings and hints."""
    copy = ast.parse(ast.unparse(tree))
    for node in ast.walk(copy):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node):
            node.body = node.body[1:]
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
    return ast.dump(copy)


async def measure(actions: list[Action], adapter: str, *, has_diffs: bool) -> None:
    """Ask for all edits and print what came out."""
    opened = open_engine(
        resolve(MODEL, offline=True),
        device=torch.device("cpu"),
        dtype=torch.float32,
        adapter=choose_adapter(adapter, MODEL),
        kernels="auto",
    )
    engine = LocalEngine(opened)
    totals = {}
    for action in actions:
        cases = [
            case
            for case in CASES
            if action.name in case.actions and is_offered(action, selection_of(case))
        ]
        outcomes = []
        for case in cases:
            outcome = await try_case(engine, action, case)
            outcomes.append(outcome)
            if has_diffs:
                _show(action, case, outcome)
        useful = sum(not it.problem for it in outcomes)
        offered = sum(bool(it.new) for it in outcomes)
        totals[action.name] = {"cases": len(cases), "offered": offered, "useful": useful}
        _print(f"{action.name:14} {len(cases):3} cases {offered:3} offered {useful:3} of use")
    keys = ("cases", "offered", "useful")
    all_of = {key: sum(total[key] for total in totals.values()) for key in keys}
    _print(json.dumps({"adapter": adapter, "all": all_of, "actions": totals}))


def _show(action: Action, case: Case, outcome: Outcome) -> None:
    name = case.code.split("(")[0].split(":")[0]
    _print(f"--- {action.name}: {name}: {outcome.problem or 'of use'}")
    if outcome.new:
        lines = (case.code.splitlines(), outcome.new.splitlines())
        _print("\n".join([*difflib.unified_diff(*lines, lineterm="", n=0)][2:]))


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--action", action="append", choices=[it.name for it in ACTIONS])
    parser.add_argument("--adapter", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="what was changed, case by case")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    chosen = [it for it in ACTIONS if it.name in (arguments.action or [it.name])]
    asyncio.run(measure(chosen, arguments.adapter, has_diffs=arguments.show))


if __name__ == "__main__":
    main()
