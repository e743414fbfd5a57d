"""One rewrite: from a selection and a wish to checked code for its place.

Asks the engine in words, takes over what the wish was about, and looks at what came out. Knows
neither LSP nor the terminal.
"""

import uuid
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from lsp_server.engine_client import EngineEvent
from lsp_server.settings import Settings
from model.format.answers import sufficient, take
from model.format.edit_checks import does, faults, parses_no_worse
from model.format.plan import HolePlan
from model.format.prompt import FENCE
from model.format.rewriting import FIX, REWRITE, Action, question_for
from model.format.selection import Selection
from sampler.messages import Complete, Failed, Finished, Stats

MAX_CODE_CHARS = 5_000
"""Of a selection: it and the answer have to fit into the engine's window together."""
MAX_NEW_TOKENS = 1_800
_MAX_LINES = 1_000

Progress = Callable[[float], None]
"""Called with how much of an answer is there, in [0, 1]: a guess by the length of the old code."""


class RewriteError(Exception):
    """There is no edit; one sentence for a person."""


class UnchangedError(RewriteError):
    """The answers were the old code."""


class Engine(Protocol):
    """What a rewrite needs of an engine."""

    def complete(self, request: Complete) -> AsyncGenerator[EngineEvent, None]:
        """The request's events, up to `Finished` or `Failed`."""
        ...


@dataclass(frozen=True)
class Wish:
    """What somebody wants done to a selection."""

    action: Action
    detail: str = ""
    """The instruction of a person, or the errors that a tool has found."""


@dataclass(frozen=True)
class Rewritten:
    """New text for the place of the selection."""

    new: str
    faults: tuple[str, ...]
    """What could not be kept: a sentence each."""
    stats: tuple[Stats, ...]
    """What each question to the engine cost."""


async def rewrite(
    engine: Engine,
    selection: Selection,
    wish: Wish,
    settings: Settings,
    *,
    document: str,
    on_progress: Progress,
) -> Rewritten:
    """Have a selection rewritten.

    An answer that changes nothing is refused where the wish is for a change: the engine leaves the
    old code where it was least sure of it. One that breaks the syntax, is not what the action is
    called or changes nothing even then is asked for once more in other words.

    Args:
        engine: answers the questions.
        selection: whole statements of a text.
        wish: what is to be done.
        settings: the mode, and what happens to an edit with faults.
        document: names the text for the engine; a newer rewrite of it replaces this one.
        on_progress: told as the answer grows.

    Raises:
        RewriteError: if there is no edit to offer.
    """
    _check(selection, wish)
    reason = ""
    costs: list[Stats] = []
    questions = [
        question_for(wish.action, selection, detail=wish.detail, attempt=attempt)
        for attempt in range(len(wish.action.wordings))
    ]
    requests = deque(_request(question, selection, settings, document) for question in questions)
    while requests:
        request = requests.popleft()
        answer = await _answer(
            engine, request, on_progress, partial(sufficient, wish.action, selection)
        )
        costs.append(answer.stats)
        if answer.is_cut_off:
            raise RewriteError("The answer was cut off because it is too long: select less.")
        taken = take(wish.action, selection, answer.text)
        if not taken.code.strip():
            continue
        new = selection.fit(taken.code)
        if new == selection.old:
            if wish.action.must_change and not request.must_change:
                # What is cached of the first answer is not computed again.
                again = replace(request, request_id=str(uuid.uuid4()), must_change=True)
                requests.appendleft(again)
            continue
        if not parses_no_worse(selection, new):
            reason = "The answer has a syntax error and is not offered."
            continue
        if not does(wish.action.name, selection, new):
            reason = reason or "The answer does something else and is not offered."
            continue
        asked = wish.detail if wish.action == REWRITE else ""
        found = faults(selection, new, wish=asked, needs=taken.needs)
        if found and settings.edit_faults == "refuse":
            raise RewriteError(f"The edit was not offered: {' '.join(found)}")
        return Rewritten(new, tuple(found), tuple(costs))
    if reason:
        raise RewriteError(reason)
    raise UnchangedError("The model found nothing to change.")


def _check(selection: Selection, wish: Wish) -> None:
    if wish.action in (REWRITE, FIX) and not wish.detail.strip():
        raise RewriteError("There is no instruction: say what is to be done.")
    if FENCE in selection.code or FENCE in wish.detail:
        raise RewriteError(
            f"Code that holds {FENCE} cannot be rewritten: an answer would end there."
        )
    if len(selection.code) > MAX_CODE_CHARS:
        raise RewriteError(
            f"The selection is too long: {len(selection.code):,} characters, and "
            f"{MAX_CODE_CHARS:,} are possible."
        )


def _request(question: str, selection: Selection, settings: Settings, document: str) -> Complete:
    language = "" if selection.language == "text" else selection.language
    return Complete(
        request_id=str(uuid.uuid4()),
        document=f"{document}#rewrite",
        prefix=question,
        suffix="",
        plan=HolePlan(language, "answer", _MAX_LINES, "", "", "", FENCE),
        mode=settings.mode,
        layout="chat",
        max_new_tokens=min(len(selection.code) // 2 + 250, MAX_NEW_TOKENS),
        old_code=selection.code,
    )


@dataclass(frozen=True)
class _Answer:
    text: str
    is_cut_off: bool
    stats: Stats
    """Empty if the rest of the answer was not waited for."""


async def _answer(
    engine: Engine,
    request: Complete,
    on_progress: Progress,
    is_enough: Callable[[str], str | None],
) -> _Answer:
    text = ""
    async with aclosing(engine.complete(request)) as events:
        async for event in events:
            if isinstance(event, Failed):
                raise RewriteError(event.message)
            if isinstance(event, Finished):
                return _Answer(event.text, event.stop in ("limit", "budget"), event.stats)
            text += event.text
            on_progress(min(len(text) / len(request.old_code), 1.0))
            enough = is_enough(text)
            if enough is not None:
                return _Answer(enough, False, Stats())
    raise RewriteError("The engine gave no answer.")
