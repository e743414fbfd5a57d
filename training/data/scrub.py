"""Secrets and e-mail addresses, replaced by neutral ones.

What a secret looks like is the business of `detect-secrets`; only its patterns of tokens with a
shape of their own are used, because its guesses by entropy or by the name of a variable hit hashes
and ordinary code. Nothing is ever verified, so no network is asked.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.discord import DiscordBotTokenDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.mailchimp import MailchimpDetector
from detect_secrets.plugins.openai import OpenAIDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector

from training.data.source import SourceFile

SECRET = "example-secret"
EMAIL = "user@example.com"

_DETECTORS = (
    AWSKeyDetector,
    AzureStorageKeyDetector,
    DiscordBotTokenDetector,
    GitHubTokenDetector,
    GitLabTokenDetector,
    JwtTokenDetector,
    MailchimpDetector,
    OpenAIDetector,
    PypiTokenDetector,
    SendGridDetector,
    SlackDetector,
    SquareOAuthDetector,
    StripeDetector,
    TelegramBotTokenDetector,
    TwilioKeyDetector,
)
_SECRETS: Sequence[re.Pattern[str]] = (
    *(pattern for detector in _DETECTORS for pattern in detector.denylist),
    re.compile(r"://[\w.+-]+:(?P<secret>[\w.+-]+)@"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY[A-Z ]*-----(?P<secret>(?:[^-]|-(?!----))+)-----END"),
)
_EMAIL = re.compile(
    r"(?<![\w.+%/:@-])[A-Za-z0-9][\w.+%-]*@(?:[a-z0-9][a-z0-9-]*\.)+"
    r"(?:com|org|net|edu|gov|mil|int|info|biz|name|dev|[a-z]{2})(?![\w(\[@-]|\.\w)",
)
"""In lower case behind the `@`, and not called or indexed: `q@k.mT` multiplies matrices."""
_NEUTRAL = re.compile(
    r".*@(?:[a-z0-9-]+\.)*example\.(?:com|org|net)|(?:my|your)?_?(?:pass\w*|pwd|secret|token)"
    rf"|{SECRET}|\s*\.*\s*",
    re.IGNORECASE,
)
_MIN_TOKEN_CHARS = 20
"""A group of a detector's pattern is the secret only if it is this long; GitHub's is a prefix."""


def scrub(file: SourceFile) -> SourceFile:
    """The file without secrets and addresses; `replaced` counts them."""
    counts: Counter[str] = Counter()

    def neutral(kind: str, by: str) -> Callable[[re.Match[str]], str]:
        def replacement(match: re.Match[str]) -> str:
            start, end = (place - match.start() for place in match.span(_group(match)))
            if _NEUTRAL.fullmatch(match[0][start:end]):
                return match[0]
            counts[kind] += 1
            return match[0][:start] + by + match[0][end:]

        return replacement

    text = file.text
    for pattern in _SECRETS:
        text = pattern.sub(neutral("secret", SECRET), text)
    text = _EMAIL.sub(neutral("e-mail", EMAIL), text)
    return replace(file, text=text, replaced=tuple(sorted(counts.items()))) if counts else file


def _group(match: re.Match[str]) -> str | int:
    """The group of a match that is the secret; 0 for all of it."""
    if "secret" in match.re.groupindex:
        return "secret"
    long = (len(match[index] or "") >= _MIN_TOKEN_CHARS for index in range(1, match.re.groups + 1))
    return next((index for index, is_long in enumerate(long, start=1) if is_long), 0)
