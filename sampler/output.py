"""From accepted tokens to shown text: decodes, settles, and says when to stop.

Knows neither model nor cache. Shown text only ever grows (`model.format.settle`).
"""

from bisect import bisect_left
from collections.abc import Sequence

from model.format.plan import HolePlan
from model.format.settle import Settlement, settle
from model.format.tokenizer import TextStream, Tokenizer
from sampler.messages import Stop


class Output:
    """The text of one request."""

    def __init__(
        self, tokenizer: Tokenizer, end_ids: frozenset[int], plan: HolePlan, max_tokens: int
    ) -> None:
        self.required = ""
        """Text at the cursor that the tokens spell again before anything new (token healing)."""
        self.num_tokens = 0
        self._num_bytes = 0
        self.shown = ""
        self.stop: Stop | None = None
        self._generated = ""
        self._tokenizer = tokenizer
        self._stream = TextStream(tokenizer)
        self._end_ids = end_ids
        self._plan = plan
        self._max_tokens = max_tokens

    @property
    def required_left(self) -> bytes:
        """The part of `required`, in UTF-8, that no token has spelled yet."""
        return self.required.encode()[self._num_bytes :]

    @property
    def num_left(self) -> int:
        """Tokens that may still be pushed before the limit."""
        return self._max_tokens - self.num_tokens

    def push(self, tokens: Sequence[int]) -> str:
        """Append accepted tokens; returns the text to append to what is shown, often empty.

        Sets `stop` once the hole is closed or the limit reached; tokens behind it are dropped.
        """
        assert self.stop is None
        ends: list[int] = []
        is_ended = False
        for token in tokens:
            is_ended = token in self._end_ids
            if is_ended:
                break
            self._generated += self._stream.feed([token])
            self._num_bytes += len(self._tokenizer.decode_bytes([token]))
            self.num_tokens += 1
            ends.append(len(self._generated))
            if self.num_left <= 0:
                break
        settlement = self._settle(is_final=False)
        if settlement.is_stopped:
            self.stop = settlement.stop
            # Once stopped, always stopped: the tokens behind the one that did it do not count.
            self.num_tokens -= len(ends) - 1 - bisect_left(ends, True, key=self._is_stopped_at)
        elif is_ended or self.num_left <= 0:
            return self.finish("end_of_hole" if is_ended else "limit")
        return self._show(settlement.text)

    def finish(self, stop: Stop) -> str:
        """End here for a reason of the caller's; returns the text that was still held back.

        Where the model was cut off within a block, its last line is left out if there is another.
        """
        self._generated += self._stream.flush()
        self.stop = stop
        is_cut_off = stop in ("limit", "budget") and self._plan.max_lines > 1
        settlement = self._settle(is_final=not is_cut_off)
        if is_cut_off and not settlement.text:
            settlement = self._settle(is_final=True)
        return self._show(settlement.text)

    def _is_stopped_at(self, end: int) -> bool:
        text = self._generated[len(self.required) : end]
        return settle(text, self._plan, is_final=False).is_stopped

    def _settle(self, *, is_final: bool) -> Settlement:
        return settle(self._generated[len(self.required) :], self._plan, is_final=is_final)

    def _show(self, text: str) -> str:
        assert text.startswith(self.shown), "shown text must never change"
        fresh, self.shown = text[len(self.shown) :], text
        return fresh
