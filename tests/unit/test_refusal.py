"""The old code for an answer: refused, and left where it was least sure."""

from hypothesis import given
from hypothesis import strategies as st

from model.format.plan import HolePlan
from model.format.tokenizer import Tokenizer
from sampler.output import Output, Retry
from sampler.refusal import MAX_PLACES, Refusal
from tests.tiny import tiny_vocabulary

VOCABULARY = tiny_vocabulary()
TOKENIZER = Tokenizer(VOCABULARY)
END = min(VOCABULARY.end_ids)
ANSWER = HolePlan("python", "answer", 100, "", "", "", "```")
OLD = "return a - b\n"


def output(old: str = OLD) -> Output:
    return Output(TOKENIZER, VOCABULARY.end_ids, ANSWER, 99, refusal=Refusal(old))


def tokens_of(text: str) -> list[int]:
    """A token for each character."""
    return [token for character in text for token in TOKENIZER.encode(character)]


def sure_but_at(text: str, place: int) -> list[float]:
    return [0.4 if index == place else 0.9 for index in range(len(text))]


def test_the_least_sure_place_is_left_and_nothing_was_shown_before() -> None:
    answer = output()
    place = OLD.index("-")
    tokens = tokens_of(OLD)
    assert answer.push(tokens, sure_but_at(OLD, place)) == ""
    assert answer.push([END], [1.0]) == ""
    assert answer.stop is None
    assert answer.begin_retry() == Retry(place, tokens[place])
    assert answer.push(tokens_of("+"), [0.3]).strip() == "return a +"
    answer.push([*tokens_of(" b\n"), END])
    assert (answer.shown.strip(), answer.stop) == ("return a + b", "end_of_hole")


def test_another_answer_is_shown_as_it_comes() -> None:
    answer = output()
    assert answer.push(tokens_of("return a")) == ""
    assert answer.push(tokens_of(" * b")) == "return a * b"
    answer.push([END])
    assert (answer.stop, answer.retry) == ("end_of_hole", None)


def test_blanks_and_line_breaks_make_no_other_text() -> None:
    answer = output()
    answer.push([*tokens_of("return  a\n- b\n\n"), END], [0.5] * 16)
    assert answer.retry is not None


def test_after_a_few_places_the_old_code_is_the_answer() -> None:
    answer = output()
    places = set()
    for _ in range(MAX_PLACES):
        kept = len(answer.tokens)
        answer.push([*tokens_of(OLD[kept:]), END], [*([0.5] * (len(OLD) - kept)), 1.0])
        places.add(answer.begin_retry().num_kept)
    assert len(places) == MAX_PLACES
    kept = len(answer.tokens)
    answer.push([*tokens_of(OLD[kept:]), END])
    assert (answer.stop, answer.retry, answer.shown.strip()) == ("end_of_hole", None, OLD.strip())


def test_an_answer_that_was_cut_off_is_not_tried_again() -> None:
    answer = output()
    answer.push(tokens_of(OLD), [0.5] * len(OLD))
    answer.finish("budget")
    assert (answer.stop, answer.retry) == ("budget", None)


@given(st.text("ab \n", max_size=20), st.text("ab \n", max_size=20))
def test_shown_text_only_grows(old: str, text: str) -> None:
    answer = output(old)
    shown = ""
    for _ in range(MAX_PLACES + 1):
        for token in [*tokens_of(text[len(answer.tokens) :]), END]:
            if answer.stop is None and answer.retry is None:
                shown += answer.push([token], [0.5])
            assert shown == answer.shown
        if answer.retry is None:
            break
        answer.begin_retry()
    assert answer.stop is not None
