"""The prefix cache: which tokens the KV slots hold, and what can be reused for a new context.

Holds a few sequences, each a list of tokens beside the KV tensors of the network. All KV here is
plain causal KV of the base, so any token prefix of a sequence is reusable as it stands: typing
appends, backspace truncates, a second document gets a sequence of its own. Knows nothing of
requests or text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from model.network import KVCache
from sampler.judgment import Predicted
from sampler.kernels.cpu.segments import NativeCache

UNKNOWN = -1


@dataclass
class CachedSequence:
    """Tokens whose K/V stand in slots 0 … len(tokens)-1 of `kv`."""

    kv: KVCache | NativeCache
    tokens: list[int] = field(default_factory=list)
    next_tokens: list[int] = field(default_factory=list)
    """Greedy AR token after each position, where a forward has computed it, else `UNKNOWN`."""
    probabilities: list[float] = field(default_factory=list)
    """Of each of those tokens; 1 where it is unknown."""
    first: tuple[int, str, Predicted] | None = None
    """What the last request's output began with: the length of its settled context, the text that
    had to be spelled again, and the tokens chosen for that; see `recall`."""
    last_used: int = 0
    is_busy: bool = False
    """Whether a request is being written here: no other one may use it meanwhile."""

    def match(self, context: Sequence[int]) -> int:
        """Length of the longest common prefix with `context`."""
        length = min(len(self.tokens), len(context))
        # Comparing slices is a loop in C; the rare mismatch is then found by bisection.
        if self.tokens[:length] == list(context[:length]):
            return length
        low, high = 0, length
        while low < high:
            middle = (low + high + 1) // 2
            if self.tokens[low:middle] == list(context[low:middle]):
                low = middle
            else:
                high = middle - 1
        return low

    def truncate(self, length: int) -> None:
        """Forget all tokens from position `length` on."""
        del self.tokens[length:], self.next_tokens[length:], self.probabilities[length:]
        if self.first is not None and self.first[0] > length:
            self.first = None  # other tokens may come to stand before it

    def extend(self, tokens: Sequence[int], following: Predicted | None = None) -> None:
        """Record tokens whose K/V a forward has just written behind the last one.

        `following` is what the forward says to follow each of the last tokens.
        """
        following = following or Predicted([], [])
        num_unknown = len(tokens) - len(following.tokens)
        assert num_unknown >= 0
        self.tokens += tokens
        self.next_tokens += [UNKNOWN] * num_unknown + following.tokens
        self.probabilities += [1.0] * num_unknown + following.probabilities

    def recall(self, length: int, required: str) -> Predicted | None:
        """First tokens of the output behind the first `length` tokens, if they are known still.

        All but the last of them are held here; `required` is the text that they have to spell.
        """
        if self.first is not None and self.first[:2] == (length, required):
            first = self.first[2]
            if self.tokens[length : length + len(first.tokens) - 1] == first.tokens[:-1]:
                return first
        return None if required or length > len(self.tokens) else self.following(length)

    def following(self, length: int) -> Predicted | None:
        """Greedy AR token after the first `length` tokens, None if no forward has computed it."""
        token = self.next_tokens[length - 1]
        return None if token == UNKNOWN else Predicted([token], [self.probabilities[length - 1]])

    def copy_from(self, other: "CachedSequence", length: int) -> None:
        """Hold the first `length` tokens of another sequence, instead of what was held."""
        copy: Callable[[Any, int], None] = (
            self.kv.copy_from
        )  # all caches of a model are of one kind
        copy(other.kv, length)
        self.tokens, self.next_tokens = other.tokens[:length], other.next_tokens[:length]
        self.probabilities = other.probabilities[:length]
        self.first = other.first if other.first is not None and other.first[0] <= length else None


class PrefixCache:
    """At most `num_sequences` sequences of `num_positions` tokens; the least recently used goes."""

    def __init__(
        self,
        allocate: Callable[[], KVCache | NativeCache],
        *,
        num_sequences: int,
        num_positions: int,
    ) -> None:
        assert num_sequences > 0
        self.num_positions = num_positions
        self._allocate = allocate
        self._num_sequences = num_sequences
        self._sequences: list[CachedSequence] = []
        self._clock = 0

    @property
    def has_free(self) -> bool:
        """Whether `acquire` has a sequence to give."""
        return len(self._sequences) < self._num_sequences or not all(
            sequence.is_busy for sequence in self._sequences
        )

    def acquire(self, context: Sequence[int]) -> tuple[CachedSequence, int]:
        """The sequence to use for `context` and how many of its leading tokens match.

        The best match wins, unless continuing it would throw away more than it keeps: then a free
        or the least recently used sequence is taken, so that documents do not evict each other, and
        what matches is copied; likewise if the best is busy. The sequence keeps what it holds
        behind the match; the caller truncates, and gives it back by `release`.
        """
        self._clock += 1
        found = [(sequence.match(context), sequence) for sequence in self._sequences]
        matched, best = max(
            found, key=lambda pair: (pair[0], not pair[1].is_busy), default=(0, None)
        )
        if best is None or best.is_busy or 2 * matched < min(len(best.tokens), len(context)):
            sequence, own = self._fresh(context)
            if best is not None and best is not sequence and matched > own:
                sequence.copy_from(best, matched)
            else:
                matched = own
            best = sequence
        best.last_used = self._clock
        best.is_busy = True
        return best, matched

    def release(self, sequence: CachedSequence) -> None:
        """Others may use the sequence again."""
        assert sequence.is_busy
        sequence.is_busy = False

    def clear(self) -> None:
        """Forget all tokens; the KV buffers stay."""
        for sequence in self._sequences:
            sequence.truncate(0)

    def _fresh(self, context: Sequence[int]) -> tuple[CachedSequence, int]:
        if len(self._sequences) < self._num_sequences:
            self._sequences.append(CachedSequence(self._allocate()))
            return self._sequences[-1], 0
        free = [sequence for sequence in self._sequences if not sequence.is_busy]
        oldest = min(free, key=lambda sequence: sequence.last_used)
        return oldest, oldest.match(context)

    def check_integrity(self) -> None:
        """Assert the invariants that every method keeps.

        Raises:
            AssertionError: if one does not hold.
        """
        assert len(self._sequences) <= self._num_sequences
        buffers = {id(sequence.kv) for sequence in self._sequences}
        assert len(buffers) == len(self._sequences), "two sequences share one KV buffer"
        for sequence in self._sequences:
            assert len(sequence.tokens) == len(sequence.next_tokens)
            assert len(sequence.tokens) == len(sequence.probabilities)
            assert len(sequence.tokens) <= self.num_positions
            assert sequence.last_used <= self._clock
