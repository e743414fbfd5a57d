from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sampler.judgment import Predicted
from sampler.kv_cache import UNKNOWN, CachedSequence, PrefixCache


class NoTensors:
    """Stands in for KV tensors: the cache never looks inside."""

    copied = 0

    def copy_from(self, other, num_positions):
        assert other is not self
        self.copied = num_positions


TOKENS = st.lists(st.integers(0, 3), max_size=12)


def put(cache, context):
    """What a request does: acquire, truncate to the match, append the rest."""
    sequence, matched = begin(cache, context)
    cache.release(sequence)
    return sequence, matched


def begin(cache, context):
    """The same, but for giving the sequence back."""
    sequence, matched = cache.acquire(context)
    sequence.truncate(matched)
    sequence.extend(context[matched:])
    return sequence, matched


@given(TOKENS, TOKENS)
def test_match_is_the_longest_common_prefix(held, context):
    expected = 0
    while expected < min(len(held), len(context)) and held[expected] == context[expected]:
        expected += 1
    assert CachedSequence(NoTensors(), list(held)).match(context) == expected


def test_typing_appends_and_backspace_truncates():
    cache = PrefixCache(NoTensors, num_sequences=2, num_positions=100)
    text = list(range(50))
    first, _ = put(cache, text)
    second, matched = put(cache, [*text, 50])
    assert second is first
    assert matched == 50
    third, matched = put(cache, text[:45])
    assert third is first
    assert matched == 45


def test_two_documents_do_not_evict_each_other():
    cache = PrefixCache(NoTensors, num_sequences=2, num_positions=100)
    one, two = [0, *range(1, 40)], [0, *range(51, 90)]
    put(cache, one)
    put(cache, two)
    assert put(cache, [*one, 40])[1] == 40
    assert put(cache, [*two, 90])[1] == 40


def test_a_part_that_is_shared_is_copied_not_computed():
    cache = PrefixCache(NoTensors, num_sequences=2, num_positions=100)
    first, _ = put(cache, range(90))
    second, matched = put(cache, [*range(30), *range(200, 260)])
    assert second is not first, "most of it would have been lost"
    assert matched == second.kv.copied == 30
    assert first.tokens == list(range(90))


def test_the_least_recently_used_sequence_goes_first():
    cache = PrefixCache(NoTensors, num_sequences=2, num_positions=100)
    one, two, three = ([base + i for i in range(20)] for base in (0, 100, 200))
    put(cache, one)
    put(cache, two)
    put(cache, one)
    put(cache, three)
    assert put(cache, one)[1] == 20
    assert put(cache, two)[1] == 0


def predicted(*tokens):
    return Predicted(list(tokens), [token / 10 for token in tokens])


def test_the_following_token_is_known_only_where_it_was_computed():
    sequence = CachedSequence(NoTensors())
    sequence.extend([5, 6], predicted(7))
    assert sequence.next_tokens == [UNKNOWN, 7]
    assert sequence.following(1) is None
    assert sequence.following(2) == predicted(7)
    sequence.truncate(1)
    sequence.extend([8], predicted(9))
    assert sequence.following(2) == predicted(9)


def test_first_tokens_are_recalled_until_the_context_before_them_goes():
    sequence = CachedSequence(NoTensors())
    sequence.extend([5, 6, 7], predicted(8))
    sequence.first = (2, "re", predicted(7, 8))
    assert sequence.recall(2, "re") == predicted(7, 8)
    assert sequence.recall(2, "x") is None
    assert sequence.recall(3, "") == predicted(8)
    assert sequence.recall(2, "") is None
    sequence.truncate(1)
    sequence.extend([9, 7])
    assert sequence.recall(2, "re") is None


def test_what_a_busy_sequence_has_in_common_is_copied():
    cache = PrefixCache(NoTensors, num_sequences=2, num_positions=100)
    text = list(range(40))
    first, _ = begin(cache, text)
    second, matched = begin(cache, [*text[:30], 99])
    assert second is not first
    assert (matched, second.kv.copied) == (30, 30)
    assert first.tokens == text, "whoever is busy is left alone"
    assert not cache.has_free
    cache.release(first)
    third, matched = begin(cache, text)
    assert third is first
    assert matched == 40


class CacheMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.cache = PrefixCache(NoTensors, num_sequences=3, num_positions=12)
        self.busy = []

    @precondition(lambda self: self.cache.has_free)
    @rule(context=TOKENS)
    def request(self, context):
        sequence, matched = begin(self.cache, context)
        assert all(sequence is not other for other, _ in self.busy)
        self.busy.append((sequence, context))
        assert sequence.tokens == context
        assert matched <= len(context)

    @precondition(lambda self: self.busy)
    @rule(which=st.integers(0, 2))
    def end(self, which):
        sequence, context = self.busy.pop(which % len(self.busy))
        assert sequence.tokens == context, "nobody else has written there"
        self.cache.release(sequence)

    @invariant()
    def knows_what_is_free(self):
        assert self.cache.has_free == (len(self.busy) < 3)

    @invariant()
    def is_sound(self):
        self.cache.check_integrity()


TestCacheMachine = CacheMachine.TestCase
