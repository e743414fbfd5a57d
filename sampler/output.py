"""From accepted tokens to shown text: decodes, settles, checks, and says when to stop.

Knows neither model nor cache. Shown text only ever grows (`model.format.settle`), and what is shown
is sound (`model.format.soundness`): an end that is not is taken back once, so that the engine may
try another token, and left out if that does not help. So is an answer that is refused, of which
nothing is shown before it differs.
"""

import heapq
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from model.format.lexer import LINE_BREAK
from model.format.plan import HolePlan
from model.format.restyle import restyle
from model.format.settle import Settlement, settle
from model.format.soundness import Soundness
from model.format.tokenizer import TextStream, Tokenizer
from sampler.messages import Stop
from sampler.refusal import Refusal

_MAX_CHECKS = 3
"""Ends of lines that are tried for what of a text may be shown."""
_MAX_TAKEN_BACK = 32
"""Tokens that a second attempt may leave out."""


@dataclass(frozen=True)
class Retry:
    """Go on behind the first `num_kept` tokens, with another token than `forbidden`."""

    num_kept: int
    forbidden: int


class Output:
    """The text of one request."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        end_ids: frozenset[int],
        plan: HolePlan,
        max_tokens: int,
        soundness: Soundness | None = None,
        refusal: Refusal | None = None,
    ) -> None:
        self.required = ""
        """Text at the cursor that the tokens spell again before anything new (token healing)."""
        self.tokens: list[int] = []
        self.shown = ""
        self.stop: Stop | None = None
        self.retry: Retry | None = None
        """Set while the text awaits a second attempt; `begin_retry` takes it."""
        self._has_retried = False
        self._num_bytes = 0
        self._generated = ""
        self._ends: list[int] = []
        """For each token, the characters generated with it."""
        self._probabilities: list[float] = []
        self._tokenizer = tokenizer
        self._stream = TextStream(tokenizer)
        self._end_ids = end_ids
        self._plan = plan
        self._max_tokens = max_tokens
        self._soundness = soundness
        self._refusal = refusal

    @property
    def num_tokens(self) -> int:
        """Tokens that count."""
        return len(self.tokens)

    @property
    def required_left(self) -> bytes:
        """The part of `required`, in UTF-8, that no token has spelled yet."""
        return self.required.encode()[self._num_bytes :]

    @property
    def num_left(self) -> int:
        """Tokens that may still be pushed before the limit."""
        return self._max_tokens - self.num_tokens

    def push(self, tokens: Sequence[int], probabilities: Sequence[float] | None = None) -> str:
        """Append accepted tokens; returns the text to append to what is shown, often empty.

        Sets `stop` once the hole is closed or the limit reached, or `retry`; tokens behind it are
        dropped.

        Args:
            tokens: that follow.
            probabilities: of each; None: all are sure.
        """
        assert self.stop is None
        assert self.retry is None
        num_before = self.num_tokens
        is_ended = False
        for token, probability in zip(tokens, probabilities or [1.0] * len(tokens), strict=True):
            is_ended = token in self._end_ids
            if is_ended:
                break
            self._append(token, probability)
            if self.num_left <= 0:
                break
        settlement = self._settle(is_final=False)
        if settlement.is_stopped:
            # Once stopped, always stopped: the tokens behind the one that did it do not count.
            ends = self._ends[num_before:]
            index = num_before + bisect_left(ends, True, key=self._is_stopped_at)
            self._keep(min(index + 1, self.num_tokens))
            assert settlement.stop is not None
            return self._end(settlement.text, settlement.stop)
        if is_ended or self.num_left <= 0:
            return self.finish("end_of_hole" if is_ended else "limit")
        return self._show(self._sound_part(restyle(settlement.text, self._plan)))

    def finish(self, stop: Stop) -> str:
        """End here for a reason of the caller's; returns the text that was still held back.

        Where the model was cut off within a block, its last line is left out if there is another.
        """
        is_cut_off = stop in ("limit", "budget") and self._plan.max_lines > 1
        settlement = self._settle(is_final=not is_cut_off)
        if is_cut_off and not settlement.text:
            settlement = self._settle(is_final=True)
        return self._end(settlement.text, stop)

    def begin_retry(self) -> Retry:
        """What to try instead; from here on tokens may be pushed again."""
        retry, self.retry = self.retry, None
        assert retry is not None
        return retry

    def _append(self, token: int, probability: float) -> None:
        self.tokens.append(token)
        self._probabilities.append(probability)
        self._generated += self._stream.feed([token])
        self._num_bytes += len(self._tokenizer.decode_bytes([token]))
        self._ends.append(len(self._generated))

    def _keep(self, num_tokens: int) -> None:
        """Forget the tokens behind the first so many, but not the text that was shown."""
        kept = list(zip(self.tokens, self._probabilities, strict=True))[:num_tokens]
        self.tokens, self._ends, self._probabilities = [], [], []
        self._generated, self._num_bytes, self._stream = "", 0, TextStream(self._tokenizer)
        for token, probability in kept:
            self._append(token, probability)

    def _take_back(self, retry: Retry) -> None:
        self.retry = retry
        self._keep(retry.num_kept)

    def _is_stopped_at(self, end: int) -> bool:
        text = self._generated[len(self.required) : end]
        return settle(text, self._plan, is_final=False).is_stopped

    def _settle(self, *, is_final: bool) -> Settlement:
        return settle(self._generated[len(self.required) :], self._plan, is_final=is_final)

    def _end(self, text: str, stop: Stop) -> str:
        """Stop with `text`, or with as much of it as is sound, or ask for a second attempt."""
        text = restyle(text, self._plan)
        if self._refusal is not None and stop in ("line", "end_of_hole"):
            starts = [0, *self._ends]
            pieces = [self._generated[a:b] for a, b in pairwise(starts)]
            place = self._refusal.place_to_leave(text, pieces, self._probabilities)
            if place is not None:
                self._take_back(Retry(place, self.tokens[place]))
                return ""
        if self._soundness is not None:
            if stop != "line":
                text = self._soundness.closed(text)
            if not self._soundness.is_sound(text):
                retry = self._find_retry() if stop in ("line", "end_of_hole") else None
                if retry is not None:
                    self._has_retried = True
                    self._take_back(retry)
                    return ""
                text = self._sound_head(text)
        self.stop = stop
        return self._show(text)

    def _sound_part(self, text: str) -> str:
        """The text as far as it is sound: all of it, up to the end of a line, or what is shown."""
        if self._soundness is None:
            return text
        end = len(text)
        for _ in range(_MAX_CHECKS):
            if end <= len(self.shown):
                break
            if self._soundness.is_sound(text[:end]):
                return text[:end]
            end = len(text[: max(text.rfind("\n", 0, end), 0)].rstrip())
        return self.shown

    def _sound_head(self, text: str) -> str:
        """The longest sound head of a text that is not, at the end of a token or a line."""
        assert self._soundness is not None
        at_lines = [text[: match.start()].rstrip() for match in LINE_BREAK.finditer(text)]
        heads = heapq.merge(reversed(at_lines), self._heads_at_tokens(), key=len, reverse=True)
        for head, _ in groupby(heads):
            if len(head) <= len(self.shown):
                break
            if text.startswith(head) and self._soundness.is_sound(head):
                return head
        return self.shown

    def _heads_at_tokens(self) -> Iterator[str]:
        """What a mode that shows each token by itself has on screen, from the last token on."""
        for end in reversed(self._ends):
            part = self._generated[len(self.required) : end]
            yield restyle(settle(part, self._plan, is_final=False).text, self._plan)

    def _find_retry(self) -> Retry | None:
        """The first token behind the longest sound head of the text, if that can be replaced."""
        assert self._soundness is not None
        if self._has_retried:
            return None
        for num_kept in range(self.num_tokens - 1, self.num_tokens - 1 - _MAX_TAKEN_BACK, -1):
            end = self._ends[num_kept - 1] if num_kept > 0 else 0
            if num_kept < 0 or end < len(self.required):
                return None
            head = self._generated[len(self.required) : end].rstrip()
            if not restyle(head, self._plan).startswith(self.shown):
                return None
            if self._soundness.is_sound(restyle(head, self._plan)):
                return Retry(num_kept, self.tokens[num_kept])
        return None

    def _show(self, text: str) -> str:
        assert text.startswith(self.shown), "shown text must never change"
        if self._refusal is not None and self.stop is None and self._refusal.may_become(text):
            return ""
        fresh, self.shown = text[len(self.shown) :], text
        return fresh
