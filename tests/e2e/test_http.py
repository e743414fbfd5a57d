"""The HTTP front as plugins of other editors use it: a real server, a stub for the engine."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from lsp_server.http_front import HttpError, _listen, make_app, serve
from lsp_server.settings import Settings
from sampler.stub import Answer
from tests.engines import StubPlace


class Place:
    """A server on a port of its own."""

    def __init__(self, stub: StubPlace, api_key: str | None = None):
        self.listener = _listen("127.0.0.1", 0)
        self.port = self.listener.getsockname()[1]
        app = make_app(Settings(model="tiny"), api_key=api_key, engine_command=stub.command)
        config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="on")
        self._server = uvicorn.Server(config)
        arguments = {"sockets": [self.listener]}
        self._thread = threading.Thread(target=self._server.run, kwargs=arguments, daemon=True)
        self._thread.start()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        connection = self.connect()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is None:
            connection.request("GET", path, headers=names)
        else:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request("POST", path, data, names)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, json.loads(content) if content.startswith(b"{") else content

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def stub(place: StubPlace, monkeypatch: pytest.MonkeyPatch) -> StubPlace:
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    return place


@pytest.fixture
def web(stub: StubPlace) -> Iterator[Place]:
    web = Place(stub)
    yield web
    web.close()


def wait_for(is_so: Any) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


BODY = {"input_prefix": "x = \n", "prompt": "y = ", "input_suffix": "\n", "filename": "a.py"}


def test_infill_answers_with_text_and_timings(stub: StubPlace, web: Place) -> None:
    stub.write_script(Answer(["foo(", "a)\n", "b"]))
    status, answer = web.ask("/infill", {**BODY, "n_predict": 9})
    assert (status, answer["content"], answer["stop"]) == (200, "foo(a)\nb", True)
    assert answer["timings"]["prompt_n"] == 0
    [record] = stub.records("Complete")
    assert (record["prefix"], record["suffix"]) == ("x = \ny = ", "\n")
    assert record["max_new_tokens"] == 9


def test_completions_answer_and_stop_texts_cut(stub: StubPlace, web: Place) -> None:
    stub.write_script(Answer(["a\n", "\nb"], delays_ms=[10]), Answer(["all"]))
    body = {"prompt": "x = ", "suffix": "\n", "stop": ["\n\n"]}
    status, answer = web.ask("/v1/completions", body)
    assert (status, answer["choices"][0]["text"]) == (200, "a")
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert web.ask("/v1/completions", body)[1]["choices"][0]["text"] == "all"


@pytest.mark.parametrize("path", ["/infill", "/v1/completions"])
def test_a_stream_is_the_answer_in_pieces(stub: StubPlace, web: Place, path: str) -> None:
    stub.write_script(Answer(["a(", "b)", "\nc"], delays_ms=[20]))
    connection = web.connect()
    body = {**BODY, "stream": True, "prompt": "y = "}
    connection.request("POST", path, json.dumps(body))
    lines = connection.getresponse().read().decode().split("\n\n")
    records = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert len(records) > 1
    if path == "/infill":
        texts = [record["content"] for record in records]
        assert [record["stop"] for record in records] == [False] * (len(records) - 1) + [True]
    else:
        texts = [record["choices"][0]["text"] for record in records]
        assert lines[-2] == "data: [DONE]"
    assert "".join(texts) == "a(b)\nc"
    connection.close()


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_client_that_leaves_cancels_in_the_engine(
    stub: StubPlace, web: Place, is_streamed: bool
) -> None:
    stub.write_script(Answer(["a", "b"], delays_ms=[0, 60_000]))
    connection = web.connect()
    connection.request("POST", "/infill", json.dumps({**BODY, "stream": is_streamed}))
    wait_for(lambda: stub.records("Complete"))
    if is_streamed:
        connection.getresponse().read(10)
    connection.close()
    wait_for(lambda: stub.records("cancelled"))


def test_a_warm_up_is_read(stub: StubPlace, web: Place) -> None:
    status, answer = web.ask("/infill", {**BODY, "n_predict": 0, "t_max_predict_ms": 1})
    assert (status, answer["content"]) == (200, "")
    assert stub.records("Complete") == []
    assert len(stub.records("Read")) == 1


def test_health_and_models(web: Place) -> None:
    wait_for(lambda: web.ask("/health")[0] == 200)
    assert web.ask("/health") == (200, {"status": "ok"})
    assert web.ask("/v1/models")[1]["data"][0]["id"] == "tiny"


def test_a_failed_engine_is_told(stub: StubPlace) -> None:
    stub.write_script(load_failure="there are no weights")
    web = Place(stub)
    wait_for(lambda: "no weights" in str(web.ask("/health")[1]))
    assert web.ask("/health")[0] == 503
    status, answer = web.ask("/infill", BODY)
    assert (status, answer["error"]["message"]) == (503, "there are no weights")
    web.close()


@pytest.mark.parametrize(
    ("headers", "expected_status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_web_pages_have_no_access(
    web: Place, headers: dict[str, str], expected_status: int
) -> None:
    assert web.ask("/infill", BODY, **headers)[0] == expected_status


def test_an_api_key_is_asked_for(stub: StubPlace) -> None:
    web = Place(stub, api_key="our-key")
    assert web.ask("/infill", BODY)[0] == 401
    assert web.ask("/infill", BODY, Authorization="Bearer wrong")[0] == 401
    assert web.ask("/infill", BODY, Authorization="Bearer ké".encode().decode("latin-1"))[0] == 401
    assert web.ask("/infill", BODY, Authorization="Bearer our-key")[0] == 200
    web.close()


@pytest.mark.parametrize(
    ("body", "expected_words"),
    [
        (b"{", "JSON"),
        (b"\xff", "JSON"),
        ([], "JSON object"),
        ({"prompt": 7}, "'prompt' must be a text"),
        (b" " * (17 * 1024 * 1024), "over the limit"),
    ],
)
def test_bad_bodies_are_refused_in_one_sentence(
    web: Place, body: object, expected_words: str
) -> None:
    try:
        status, answer = web.ask("/infill", body)
    except (BrokenPipeError, ConnectionResetError):  # it did not read the rest
        return
    assert status == 400
    assert expected_words in answer["error"]["message"]


def test_other_paths_and_methods_are_refused(web: Place) -> None:
    assert web.ask("/nothing")[0] == 404
    assert web.ask("/infill")[0] == 405


def test_others_are_let_in_only_with_a_key() -> None:
    with pytest.raises(HttpError, match="set an API key"):
        serve(Settings(), "0.0.0.0", 0, None)


def test_a_port_that_is_taken_is_one_sentence(web: Place) -> None:
    with pytest.raises(HttpError, match="try another --port"):
        serve(Settings(), "127.0.0.1", web.port, None)
