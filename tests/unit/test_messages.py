import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.format.plan import HolePlan
from sampler.messages import (
    BlockCommitted,
    Cancel,
    Complete,
    Failed,
    Finished,
    FrameDecoder,
    FrameError,
    Hello,
    Loading,
    Ping,
    Pong,
    Ready,
    Shutdown,
    Stats,
    Tune,
    Tuned,
    Tuning,
    decode,
    encode,
)
from sampler.profile import Choice, Profile, Target

PROFILE = Profile(
    Target("AMD EPYC", 2, 2, None, "native avx512", "model.gguf 1", "none"),
    measured_at="2026-11-21T12:00:00+00:00",
    measured_s=12.5,
    threads=2,
    costs_ms=((1, 18.0), (64, 110.5)),
    prefill_ms=((64, 70.25),),
    acceptance=(0.5, 0.25),
)
CHOICE = Choice("exact", 64, (3, 2), 1.9, 80.5, 55.0)
PLAN = HolePlan("python", "block", 12, "    ", "", "", "return x", "({", (False, True))
MESSAGES = [
    Hello("test"),
    Complete("1", "file:///a.py", "def f(😀\ud83d\r\n", "\u2028\x00", PLAN, mode="fast"),
    Complete("1", "d", "", "", PLAN, budget_ms=12.5),
    Cancel("1"),
    Ping(),
    Shutdown(),
    Shutdown(only_if_alone=True),
    Pong(),
    Pong(1.5),
    Loading("fetching", 0.5),
    Loading("reading"),
    Ready("model.gguf", "cpu", False, 4711, "native avx512"),
    BlockCommitted("1", "return 'é'"),
    Finished("1", "x", "line", Stats(tokens=3, first_block_ms=1.5)),
    Failed("no weights"),
    Tune("1", is_question=True),
    Tuning("1", 0.5),
    Tuned("1"),
    Tuned("1", PROFILE, CHOICE, "/home/profile.json"),
]


@given(st.lists(st.sampled_from(MESSAGES), max_size=6), st.integers(1, 400))
def test_any_split_of_the_stream_gives_the_same_records(messages, size):
    stream = b"".join(map(encode, messages))
    decoder = FrameDecoder()
    received = [
        message
        for begin in range(0, len(stream), size)
        for message in decoder.feed(stream[begin : begin + size])
    ]
    assert received == messages


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"type": "Nothing"}',
        b'{"type": "Cancel"}',
        b"\xff\xfe",
        b'{"type": ["Cancel"]}',
    ],
)
def test_a_bad_frame_is_refused(body):
    with pytest.raises(FrameError):
        decode(body)


def test_an_endless_frame_is_refused():
    with pytest.raises(FrameError, match="over the limit"):
        list(FrameDecoder().feed(b"\xff\xff\xff\xff"))
