"""Secrets in a text, masked character for character, so that no position moves.

What a token of a service looks like is the business of `detect-secrets`; only its patterns with a
shape of their own are used, and the ones for a quoted value behind a name like `password`. Nothing
is verified, so no network is asked. Its guesses by entropy are left out: they hit hashes, tables
and alphabets, which a completion needs. Knows neither files nor what the text is for.
"""

import functools
import importlib
import re
from collections.abc import Iterator, Sequence

MASK = "*"

_DETECTORS = (
    *(("aws", "AWSKeyDetector"), ("azure_storage_key", "AzureStorageKeyDetector")),
    *(("discord", "DiscordBotTokenDetector"), ("github_token", "GitHubTokenDetector")),
    *(("gitlab_token", "GitLabTokenDetector"), ("jwt", "JwtTokenDetector")),
    *(("mailchimp", "MailchimpDetector"), ("npm", "NpmDetector"), ("openai", "OpenAIDetector")),
    *(("pypi_token", "PypiTokenDetector"), ("sendgrid", "SendGridDetector")),
    *(("slack", "SlackDetector"), ("square_oauth", "SquareOAuthDetector")),
    *(("stripe", "StripeDetector"), ("telegram_token", "TelegramBotTokenDetector")),
    *(("twilio", "TwilioKeyDetector"),),
)
_MIN_TOKEN_CHARS = 16
"""A group of a detector's pattern is the secret only if it is this long; some are a prefix."""
_IN_ADDRESS = re.compile(r"://[^\s:/@]*:(?P<secret>[^\s:/@{}]{3,})@")
_KEY_BLOCK = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY[A-Z ]*-----(?P<secret>[\s\S]*?)(?=-----END|\Z)"
)
_KEY_END = re.compile(
    r"(?:^[^\w\n]*[A-Za-z0-9+/=]{16,}[^\w\n]*\n)+(?=[^\w\n]*-----END [A-Z ]*PRIVATE)", re.MULTILINE
)
_BLOB = re.compile(r"[A-Za-z0-9+/=_-]{60,}")
"""A line that is nothing else, as in the middle of a key; a completion needs none of it."""
_MIN_PASSWORD_CHARS = 6
_WORDS = re.compile(r"[A-Za-z_.-]*|.*\s.*|[<{$%].*", re.DOTALL)
"""Not a password: words of a message, a field's name, a placeholder."""
_HINT = re.compile(
    r"key|pass|pwd|secret|token|auth|contrase|://|[A-Za-z0-9+/=_-]{16}|xox|sk_", re.IGNORECASE
)
"""What every line with a secret has; spares most lines the patterns."""
_MAX_CACHED_CHARS = 400


def redact(text: str) -> str:
    """`text` with every secret masked; as long as before, and with its line breaks."""
    lines = text.split("\n")
    if "PRIVATE KEY" in text:
        text = _mask(text, [match.span("secret") for match in _KEY_BLOCK.finditer(text)])
        text = _mask(text, [match.span() for match in _KEY_END.finditer(text)])
        lines = text.split("\n")
    return "\n".join(map(redact_line, lines))


def redact_around(prefix: str, suffix: str) -> tuple[str, str]:
    """The texts before and after a cursor, redacted as one; each stays as long as it is.

    A quoted value that is still being typed is taken to end at the cursor.
    """
    text = redact(prefix + suffix)
    masked, suffix = text[: len(prefix)], text[len(prefix) :]
    start = masked.rfind("\n") + 1
    line = masked[start:]
    for quote in "\"'":
        line = redact_line(line + quote)[: len(line)]
    return masked[:start] + line, suffix


def without_secrets(text: str) -> str:
    """`text` without the lines that hold a secret."""
    pairs = zip(text.split("\n"), redact(text).split("\n"), strict=True)
    return "\n".join(line for line, redacted in pairs if line == redacted)


def redact_line(line: str) -> str:
    """One line with its secrets masked."""
    return _cached(line) if len(line) <= _MAX_CACHED_CHARS else _redact_line(line)


def load_patterns() -> None:
    """Import the detectors now; the first line would do it otherwise. Takes about 0.15 s."""
    _patterns()


def _redact_line(line: str) -> str:
    if len(line) < _MIN_PASSWORD_CHARS or not _HINT.search(line):
        return line
    return _mask(line, tuple(_spans(line)))


_cached = functools.lru_cache(maxsize=4096)(_redact_line)
"""While somebody types, all lines but one are those of the keystroke before."""


def _spans(line: str) -> Iterator[tuple[int, int]]:
    stripped = line.strip(" \t\r\n\"'+\\,")
    if _BLOB.fullmatch(stripped) and not stripped.isidentifier() and len({*stripped}) > 8:
        start = line.index(stripped)
        yield start, start + len(stripped)
    shapes, assignments = _patterns()
    for pattern in shapes:
        for match in pattern.finditer(line):
            yield match.span(_secret_group(match))
    for pattern, group in assignments:
        for match in pattern.finditer(line):
            value = match.group(group)
            if len(value) >= _MIN_PASSWORD_CHARS and not _WORDS.fullmatch(value):
                yield match.span(group)


def _secret_group(match: re.Match[str]) -> int | str:
    """The group of a match that is the secret; 0 for all of it."""
    if "secret" in match.re.groupindex:
        return "secret"
    groups = range(1, match.re.groups + 1)
    return next((group for group in groups if len(match[group] or "") >= _MIN_TOKEN_CHARS), 0)


@functools.cache
def _patterns() -> tuple[Sequence[re.Pattern[str]], Sequence[tuple[re.Pattern[str], int]]]:
    """Shapes of tokens; and assignments with the group that holds their quoted value."""
    shapes = [_IN_ADDRESS]
    for module, name in _DETECTORS:
        detector = getattr(importlib.import_module(f"detect_secrets.plugins.{module}"), name)
        shapes += detector.denylist
    keyword = importlib.import_module("detect_secrets.plugins.keyword")
    return shapes, tuple(keyword.QUOTES_REQUIRED_DENYLIST_REGEX_TO_GROUP.items())


def _mask(text: str, spans: Sequence[tuple[int, int]]) -> str:
    for start, end in spans:
        text = text[:start] + re.sub(r"[^\s]", MASK, text[start:end]) + text[end:]
    return text
