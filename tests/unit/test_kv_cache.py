from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sampler.judgment import Predicted
from sampler.kv_cache import UNKNOWN, CachedSequence, PrefixCache


class NoTensors:
    """Stands in for KV tensors: the cache never looks inside."""


TOKENS = st.lists(st.integers(0, 3), max_size=12)


def put(cache, context):
    """What a request does: acquire, truncate to the match, append the rest."""
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


class CacheMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.cache = PrefixCache(NoTensors, num_sequences=3, num_positions=12)

    @rule(context=TOKENS)
    def request(self, context):
        sequence, matched = put(self.cache, context)
        assert sequence.tokens == context
        assert matched <= len(context)

    @invariant()
    def is_sound(self):
        self.cache.check_integrity()


TestCacheMachine = CacheMachine.TestCase
