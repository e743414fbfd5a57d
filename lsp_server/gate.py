"""When to be quiet: what a person has switched off, and how sure the model has to be.

Pure. What was asked for by hand is answered unless completions are off for the file; the rest of
the rules are about what comes by itself. Knows neither the engine nor the state of a session.
"""

from fnmatch import fnmatchcase
from typing import Literal
from urllib.parse import unquote, urlsplit

from lsp_server.prediction import NO_BAR, Bar
from lsp_server.settings import Settings
from lsp_server.snapshot import Snapshot
from model.format.syntax import MAX_PREFIX_CHARS, MAX_SUFFIX_CHARS, language_of, plan_hole

Reason = Literal[
    "off", "language", "file", "snoozed", "manual", "comment", "string", "unsure", "nothing"
]
"""`off`, `language`, `file`, `manual`, `comment`, `string`: by the settings · `snoozed`: for a
while · `unsure`: the model was not sure enough · `nothing`: it had nothing to add or nothing long
enough, the request was superseded, or it failed."""

SUBTLE_CONFIDENCE = 0.55
"""Of the first line's least likely token, for `show = subtle`: over the single-line set this keeps
91 % of the right lines and drops 59 % of the wrong ones (tests/bench/bench_gate.py)."""


def quiet_reason(
    snapshot: Snapshot, settings: Settings, *, is_invoked: bool, is_snoozed: bool
) -> Reason | None:
    """Why the engine is not asked for a completion at `snapshot`; None if it is."""
    if settings.show == "never":
        return "off"
    names = {snapshot.language.lower(), language_of(snapshot.language)}
    if names & {name.lower() for name in settings.off_languages}:
        return "language"
    if any(_matches(snapshot.uri, pattern) for pattern in settings.off_files):
        return "file"
    if is_invoked:
        return None
    if is_snoozed:
        return "snoozed"
    if settings.trigger == "manual":
        return "manual"
    if settings.in_comments and settings.in_strings:
        return None
    start, end = max(snapshot.offset - MAX_PREFIX_CHARS, 0), snapshot.offset + MAX_SUFFIX_CHARS
    text = snapshot.text
    kind = plan_hole(
        snapshot.language, text[start : snapshot.offset], text[snapshot.offset : end]
    ).kind
    if kind == "comment" and not settings.in_comments:
        return "comment"
    if kind == "string" and not settings.in_strings:
        return "string"
    return None


def bar(settings: Settings, *, is_invoked: bool) -> Bar:
    """What a prediction has to pass to be shown."""
    if is_invoked:
        return NO_BAR
    is_subtle = settings.show == "subtle"
    return Bar(SUBTLE_CONFIDENCE if is_subtle else 0.0, settings.min_chars)


def _matches(uri: str, pattern: str) -> bool:
    """Whether a pattern names the file: by its name, or by the end of its path."""
    path = unquote(urlsplit(uri).path)
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"*/{pattern}")
