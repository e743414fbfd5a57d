"""Whether a completion leaves the code around it as sound as it was, and how to close it if not.

A completion is sound if the syntax tree of the text with it has no more errors than without it: the
code may have been broken before. What it has opened itself counts as closed, since half a call is
no error. Without a grammar everything is sound. Knows neither tokens nor what is on screen.
"""

import re
from functools import cached_property

from model.format import indentation
from model.format.grammars import num_errors, parse
from model.format.lexer import Frame, scan
from model.format.plan import HolePlan
from model.format.settle import quote_at_cursor
from model.format.syntax import surroundings

_UNFINISHED = re.compile(r"\s*(?:@\w|#!?\[|try\s*:)[^\r\n]*\Z")
"""The start of something that is no code without the lines that follow it."""
NUM_BEFORE = 3000
NUM_AFTER = 1500
"""Characters around the cursor that are parsed again with each text: half a millisecond."""
_PLACEHOLDER = "x"
"""An expression in every language."""


class Soundness:
    """Judges the completions of one hole."""

    def __init__(self, plan: HolePlan, prefix: str, suffix: str) -> None:
        self._plan = plan
        self._before, self._after = surroundings(
            plan.language, prefix, suffix, num_before=NUM_BEFORE, num_after=NUM_AFTER
        )

    def is_sound(self, text: str) -> bool:
        """Whether `text`, as far as it goes, adds no syntax error."""
        if not text.strip() or not self._has_grammar or self._is_unfinished(text):
            return True
        return any(
            self._num_errors(text + closers) <= self._num_tolerated
            for closers in self._closers(text)
        )

    def closed(self, text: str) -> str:
        """`text` with what it lacks at its end: closers of what it or its line before has opened.

        Nothing is appended where a line is meant to go on below: behind an opener or a comma, or
        where the code has no fewer errors for it.
        """
        if not self._has_grammar or text.rstrip()[-1:] in ("", "(", "[", "{", ",", ":"):
            return text
        candidates = ["", *self._closers(text)]
        return text + min(candidates, key=lambda closers: self._num_errors(text + closers))

    @cached_property
    def _has_grammar(self) -> bool:
        return parse(self._plan.language, b"") is not None

    @cached_property
    def _num_tolerated(self) -> int:
        """Errors of the code without the completion, at best with something in its place."""
        return min(self._num_errors(""), self._num_errors(_PLACEHOLDER))

    def _num_errors(self, text: str) -> int:
        code = self._before + text + self._after
        tree = parse(self._plan.language, code.encode(errors="replace"))
        assert tree is not None
        return num_errors(tree)

    def _is_unfinished(self, text: str) -> bool:
        row = indentation.last_line(self._plan.line_prefix + text)
        return _UNFINISHED.match(row) is not None

    def _closers(self, text: str) -> list[str]:
        """What closes the text: its own frames, and with them those of its line before the cursor.

        Brackets further up are the business of later lines.
        """
        plan = self._plan
        quote = quote_at_cursor(plan)
        frames = () if quote is None else (quote,)
        lexed = scan(text, plan.language, frames, is_final=True, before=plan.line_prefix)
        own = list(lexed.frames)
        num_outer = len(plan.open_brackets)
        depth, is_quoted = 0, quote is not None
        for event in lexed.events:
            if event.frame is None:
                num_outer -= 1
            elif event.is_open:
                depth += 1
            elif depth:
                depth -= 1
            else:
                is_quoted = False
        if is_quoted and own and plan.is_quote_ended:
            own.pop(0)
        closers = "".join(frame.closer for frame in reversed(own))
        due = self._due(max(num_outer, 0))
        return [closers, closers + due] if due else [closers]

    def _due(self, num_outer: int) -> str:
        """Closers of the cursor's line that do not stand after the cursor, innermost first."""
        plan = self._plan
        here = _open_in(plan.line_prefix, plan.language)
        due = ""
        outer = list(zip(plan.open_brackets, plan.is_closed, strict=True))[:num_outer]
        while outer and here and here[-1].opener[-1] == outer[-1][0] and not outer[-1][1]:
            due += here.pop().closer
            outer.pop()
        return due


def _open_in(line: str, language: str) -> list[Frame]:
    """Brackets that a line opens and does not close."""
    return [frame for frame in scan(line, language).frames if frame.kind == "bracket"]
