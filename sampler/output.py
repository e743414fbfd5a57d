"""From accepted tokens to shown text: decodes, settles, and says when to stop.

Knows neither model nor cache. Shown text only ever grows (`model.format.settle`).
"""

from collections.abc import Sequence

from model.format.plan import HolePlan
from model.format.settle import settle
from model.format.tokenizer import TextStream, Tokenizer
from sampler.messages import Stop


class Output:
    """The text of one request."""

    def __init__(
        self, tokenizer: Tokenizer, end_ids: frozenset[int], plan: HolePlan, max_tokens: int
    ) -> None:
        self.num_tokens = 0
        self.shown = ""
        self.stop: Stop | None = None
        self._generated = ""
        self._stream = TextStream(tokenizer)
        self._end_ids = end_ids
        self._plan = plan
        self._max_tokens = max_tokens

    @property
    def num_left(self) -> int:
        """Tokens that may still be pushed before the limit."""
        return self._max_tokens - self.num_tokens

    def push(self, tokens: Sequence[int]) -> str:
        """Append accepted tokens; returns the text to append to what is shown, often empty.

        Sets `stop` once the hole is closed or the limit reached; tokens behind it are dropped.
        """
        assert self.stop is None
        for token in tokens:
            if token in self._end_ids:
                return self.finish("end_of_hole")
            self._generated += self._stream.feed([token])
            self.num_tokens += 1
            if self.num_left <= 0:
                break
        settlement = settle(self._generated, self._plan, is_final=False)
        if settlement.is_stopped:
            self.stop = settlement.stop
        elif self.num_left <= 0:
            return self.finish("limit")
        return self._show(settlement.text)

    def finish(self, stop: Stop) -> str:
        """End here for a reason of the caller's; returns the text that was still held back."""
        self._generated += self._stream.flush()
        settlement = settle(self._generated, self._plan, is_final=True)
        self.stop = stop
        return self._show(settlement.text)

    def _show(self, text: str) -> str:
        assert text.startswith(self.shown), "shown text must never change"
        fresh, self.shown = text[len(self.shown) :], text
        return fresh
