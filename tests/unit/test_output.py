"""From tokens to shown text: held back, closed, taken back once, left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.format.soundness import Soundness
from model.format.syntax import plan_hole
from model.format.tokenizer import Tokenizer
from sampler.output import Output, Retry
from tests.tiny import tiny_vocabulary

VOCABULARY = tiny_vocabulary()
TOKENIZER = Tokenizer(VOCABULARY)
END = min(VOCABULARY.end_ids)


def output_at(marked: str, max_lines: int = 6) -> Output:
    prefix, suffix = marked.split("█")
    plan = plan_hole("python", prefix, suffix, max_lines=max_lines)
    return Output(TOKENIZER, VOCABULARY.end_ids, plan, 99, Soundness(plan, prefix, suffix))


def bytes_of(text: str) -> list[int]:
    """A token for each byte."""
    return [token for character in text for token in TOKENIZER.encode(character)]


def test_half_a_line_is_shown_as_far_as_it_is_sound() -> None:
    output = output_at("x = █\n")
    shown = [output.push(bytes_of(part)) for part in ["f(", "a", " +", " b", ", c"]]
    assert shown == ["f(", "a", "", " + b", ", c"]


def test_what_the_model_leaves_open_is_closed_at_the_end() -> None:
    output = output_at("return █\n")
    assert output.push(bytes_of("g(f(n")) == "g(f(n"
    assert output.push([END]) == "))"
    assert (output.stop, output.shown) == ("end_of_hole", "g(f(n))")


def test_what_the_editor_has_closed_is_not_closed_again() -> None:
    output = output_at("print(█)\n")
    output.push([*bytes_of("f(n"), END])
    assert output.shown == "f(n)"
    output = output_at("print(█)\n")
    output.push([*bytes_of("f(n))"), END])
    assert output.shown == "f(n)"


def test_a_line_that_goes_on_below_stays_open() -> None:
    output = output_at("x = █\n")
    output.push(bytes_of("f(\n"))
    assert (output.stop, output.shown) == ("line", "f(")


def test_an_end_that_is_not_sound_is_taken_back_once() -> None:
    output = output_at("x = █\n")
    tokens = bytes_of("f(a b)\n")
    assert output.push(tokens) == ""
    assert output.stop is None
    retry = output.begin_retry()
    assert retry == Retry(4, tokens[4])
    assert output.tokens == tokens[:4]
    assert output.push(bytes_of("+ b)\n")) == "f(a + b)"
    assert output.stop == "line"


def test_what_is_not_sound_the_second_time_is_left_out() -> None:
    output = output_at("x = █\n")
    output.push(bytes_of("f(a b)\n"))
    output.begin_retry()
    assert output.push(bytes_of("c d)\n")) == "f(a"
    assert (output.stop, output.retry) == ("line", None)


def test_nothing_that_is_sound_is_nothing() -> None:
    output = output_at("def f():\n    return 1\n    █\n")
    output.push([*bytes_of("= 1"), END])
    assert output.begin_retry().num_kept == 0
    assert output.push([*bytes_of("+ ="), END]) == ""
    assert (output.stop, output.shown) == ("end_of_hole", "")


def test_a_block_is_shown_up_to_its_last_sound_line() -> None:
    output = output_at("def f():\n    █\n", max_lines=9)
    assert output.push(bytes_of("x = 1\n    y = f(a b")) == "x = 1"


def test_the_word_at_the_cursor_is_never_taken_back() -> None:
    output = output_at("foo█\n")
    output.required = "foo"
    output.push([*bytes_of("foo="), END])
    assert output.begin_retry().num_kept == 3


@given(
    text=st.text("ab(,) +\n", max_size=16),
    second=st.text("ab(,) +\n", max_size=6),
    cuts=st.sets(st.integers(1, 15)),
    marked=st.sampled_from(["x = █\n", "f(█)\n", "def f():\n    █\n", "f(\n    █\n)\n"]),
)
def test_the_result_does_not_depend_on_how_tokens_arrive(
    text: str, second: str, cuts: set[int], marked: str
) -> None:
    def run(cuts: set[int]) -> tuple[str, str | None]:
        output = output_at(marked)
        parts = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
        tokens = bytes_of(text)
        for start, end in zip(parts, [*parts[1:], None], strict=True):
            chunk = tokens[start:end] if end is not None else [END]
            output.push(chunk)
            if output.stop or output.retry:
                break
        while output.retry:
            output.begin_retry()
            output.push([*bytes_of(second), END])
        assert output.stop is not None
        return output.shown, output.stop

    assert run(cuts) == run(set()) == run(set(range(1, 16)))


@pytest.mark.parametrize("language", ["text", "python"])
def test_the_indentation_is_the_files(language: str) -> None:
    prefix, suffix = "def a():\n\tif x:\n\t\ty\n\ndef b():\n\t", "\n"
    plan = plan_hole(language, prefix, suffix, max_lines=9)
    output = Output(TOKENIZER, VOCABULARY.end_ids, plan, 99, Soundness(plan, prefix, suffix))
    output.push([*bytes_of("if x:\n        y"), END])
    assert output.shown == "if x:\n\t\ty"
