"""The dialects of HTTP clients: what is read, what is refused, where answers are cut."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.http_messages import (
    Ask,
    BadRequestError,
    completion_answer,
    cut_at_stop,
    infill_answer,
    num_safe,
    read_completion,
    read_infill,
    to_request,
)
from lsp_server.settings import Settings
from model.format.surroundings import Excerpt
from sampler.messages import Finished, Stats


def test_infill_as_llama_vim_asks() -> None:
    """The line before the cursor comes apart as `prompt`; unknown fields are many."""
    ask = read_infill(
        {
            "input_prefix": "def f():\n",
            "prompt": "    return ",
            "input_suffix": "\n\nf()\n",
            "input_extra": [{"filename": "a.py", "text": "x = 1\n", "time": [1, 2]}],
            "n_predict": 64,
            "t_max_predict_ms": 500,
            "samplers": ["top_k"],
            "cache_prompt": True,
        }
    )
    assert (ask.prefix, ask.suffix) == ("def f():\n    return ", "\n\nf()\n")
    assert (ask.language, ask.excerpts) == ("python", (Excerpt("a.py", "x = 1\n"),))
    assert (ask.max_new_tokens, ask.budget_ms, ask.is_streamed) == (64, 500, False)


def test_completions_with_a_suffix_or_with_markers() -> None:
    plain = read_completion({"prompt": "# language: go\nx := ", "suffix": "\n", "max_tokens": 8})
    assert (plain.suffix, plain.language, plain.max_new_tokens) == ("\n", "go", 8)
    marked = read_completion(
        {"prompt": "<|fim_prefix|>a = <|fim_suffix|>\nb<|fim_middle|>", "stop": "\n\n"}
    )
    assert (marked.prefix, marked.suffix, marked.stop) == ("a = ", "\nb", ("\n\n",))


def test_absent_null_and_endless_are_the_settings() -> None:
    for body in ({}, {"n_predict": None, "stop": None, "stream": None}, {"n_predict": -1}):
        assert read_infill(body) == Ask("", "")
    assert read_infill({"n_predict": 0}).max_new_tokens == 0


@pytest.mark.parametrize(
    "body",
    [
        *([], "text", {"prompt": 1}, {"n_predict": "many"}, {"stop": [1]}, {"stream": "yes"}),
        *({"input_extra": {}}, {"input_extra": [1]}, {"input_extra": [{"text": 1}]}),
    ],
)
def test_fields_of_the_wrong_type_are_refused(body: Any) -> None:
    with pytest.raises(BadRequestError):
        read_infill(body)


def test_a_request_keeps_within_the_settings_and_holds_no_secret() -> None:
    secret = "ghp_" + "a1B2c3D4e5" * 4
    ask = Ask(
        f'token = "{secret}"\r\nx = ', "\r\n", excerpts=(Excerpt("a.py", f'key = "{secret}"\ny\n'),)
    )
    request, line_break = to_request(ask, Settings(max_new_tokens=9), "1")
    assert (request.max_new_tokens, line_break) == (9, "\r\n")
    assert secret not in request.prefix
    assert request.prefix.endswith("\nx = ")
    assert request.surroundings is not None
    assert secret not in request.surroundings.excerpts[0].text
    longer, _ = to_request(Ask("", "", max_new_tokens=500), Settings(max_new_tokens=9), "2")
    assert longer.max_new_tokens == 9
    plain, _ = to_request(Ask("x", "", budget_ms=50), Settings(budget_ms=80.0), "3")
    assert (plain.budget_ms, plain.surroundings, plain.is_ahead) == (50, None, False)
    read, _ = to_request(Ask("x", "", max_new_tokens=0, budget_ms=1), Settings(), "4")
    assert (read.max_new_tokens, read.budget_ms, read.is_ahead) == (0, None, True)


texts = st.text("ab\n", max_size=20)


@given(texts, st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3), st.integers(1, 5))
def test_what_is_sent_piece_by_piece_is_the_whole_cut(
    text: str, stop: list[str], size: int
) -> None:
    sent = ""
    for end in range(0, len(text) + size, size):
        cut, is_cut = cut_at_stop(text[:end], stop)
        if is_cut:
            break
        sent = cut[: max(num_safe(cut, stop), len(sent))]
        assert cut_at_stop(text, stop)[0].startswith(sent)
    assert cut_at_stop(text, stop)[0].startswith(sent)
    whole, _ = cut_at_stop(text, stop)
    assert not any(word in whole for word in stop)


FINISHED = Finished(
    "1",
    "pass",
    "limit",
    Stats(tokens=4, prefill_tokens=6, cached_tokens=2, prefill_ms=10, total_ms=30),
)


def test_answers_have_the_fields_that_clients_read() -> None:
    answer = infill_answer("pass", FINISHED, "m", is_cut=False)
    assert (answer["content"], answer["stop_type"]) == ("pass", "limit")
    assert answer["timings"]["predicted_per_second"] == 200
    assert (answer["tokens_evaluated"], answer["tokens_cached"]) == (8, 2)
    completion = completion_answer("pass", "m", 1, FINISHED)
    assert completion["choices"][0]["finish_reason"] == "length"
    assert completion["usage"]["total_tokens"] == 12
    assert completion_answer("pa", "m", 1)["choices"][0]["finish_reason"] is None
    nothing = infill_answer("", Finished("", "", "line"), "m", is_cut=True)
    assert (nothing["stop_type"], nothing["timings"]["prompt_per_second"]) == ("word", 0.0)
