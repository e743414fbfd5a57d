"""The server as a process: how fast it is there, what it loads, how it ends."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sampler.stub import Answer
from tests.e2e.editors import NEOVIM, VS_CODE, connect, start_editor, stop_editor
from tests.engines import StubPlace, eventually, has_ended

SEED_LSP = str(Path(sys.executable).with_name("seed-lsp"))
STUB_SERVER = str(Path(__file__).with_name("stub_server.py"))
MISSING_MODEL = ["--model", "/nonexistent/model.gguf", "--offline"]


class Wire:
    """LSP by hand, for what a well-behaved client library cannot do."""

    def __init__(self, command: list[str], place: StubPlace, folder: Path | None = None):
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **place.environment},
            cwd=folder,
        )

    def send(self, method: str, params: object, **fields: object) -> None:
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **fields})
        self.send_bytes(body.encode())

    def send_bytes(self, body: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self.process.stdin.flush()

    def receive(self) -> Any:
        assert self.process.stdout is not None
        length = 0
        while (line := self.process.stdout.readline()) != b"\r\n":
            assert line, f"the server has ended: {self.close()[1]}"
            if line.startswith(b"Content-Length:"):
                length = int(line[15:])
        return json.loads(self.process.stdout.read(length))

    def receive_until(self, is_it: Any) -> Any:
        while not is_it(message := self.receive()):
            pass
        return message

    def initialize(self, capabilities: object = None) -> Any:
        params = {"processId": None, "rootUri": None, "capabilities": capabilities or {}}
        self.send("initialize", params, id=1)
        return self.receive_until(lambda message: message.get("id") == 1)

    def close(self) -> tuple[int, str]:
        """The exit code after the end of stdin, and what went to stderr."""
        _, errors = self.process.communicate(timeout=10)
        return self.process.returncode, errors.decode()


def stub_server(place: StubPlace) -> list[str]:
    return [sys.executable, STUB_SERVER, str(place.script_path), "{}"]


def loads_torch(pid: int) -> bool:
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert "libpython" in maps or "python" in maps
    return "libtorch" in maps


def test_initialize_is_answered_within_700_ms_of_process_start(place: StubPlace) -> None:
    """Best of three: other work on the machine must not decide. Where pygls alone takes most of
    that, as on a slow machine, half as much again as pygls."""
    ours_s, pygls_s = [], []
    for _ in range(3):
        start = time.perf_counter()
        wire = Wire([SEED_LSP, "--stdio", *MISSING_MODEL], place)
        assert "inlineCompletionProvider" in wire.initialize()["result"]["capabilities"]
        ours_s.append(time.perf_counter() - start)
        wire.close()
        start = time.perf_counter()
        subprocess.run([sys.executable, "-I", "-c", "import pygls.lsp.server"], check=True)
        pygls_s.append(time.perf_counter() - start)
    assert min(ours_s) < max(0.7, 1.5 * min(pygls_s)), (ours_s, pygls_s)


async def test_the_server_never_loads_torch(place: StubPlace) -> None:
    editor = await start_editor(place, VS_CODE)
    editor.open("x = \n")
    assert await editor.ask(0, 4)
    assert not loads_torch(editor.server_pid)
    await stop_editor(editor)


@pytest.mark.parametrize("is_on_python_path", [False, True], ids=["folder", "PYTHONPATH"])
def test_a_users_repository_is_never_imported(
    place: StubPlace, tmp_path: Path, is_on_python_path: bool
) -> None:
    """Invariant 10, for the server and for the real engine process.

    A package of ours is shadowed by a folder on PYTHONPATH only if it is `lsp_server` itself.
    """
    marker = tmp_path / "imported"
    names = ["model", "sampler", "training", "torch", "pygls", "json", "logging"]
    if is_on_python_path:
        place.environment["PYTHONPATH"] = str(tmp_path)
    else:
        names.append("lsp_server")
    for name in names:
        package = tmp_path / name
        package.mkdir()
        code = f"open({str(marker)!r}, 'a').write(__name__)\nraise SystemExit('poisoned')\n"
        (package / "__init__.py").write_text(code)
    wire = Wire([SEED_LSP, *MISSING_MODEL], place, folder=tmp_path)
    wire.initialize()
    wire.send("initialized", {})
    failed = wire.receive_until(lambda message: message.get("params", {}).get("state") == "failed")
    assert "/nonexistent/model.gguf" in failed["params"]["message"]  # our engine got so far
    wire.close()
    assert not marker.exists()


def test_nothing_but_frames_reaches_stdout(place: StubPlace, tmp_path: Path) -> None:
    """A print anywhere in the process, or in a library below Python, goes to stderr."""
    noisy = tmp_path / "noisy.py"
    noisy.write_text(
        "import os, sys\n"
        "from lsp_server import server\n"
        "from lsp_server.configuration import Configuration\n"
        "from lsp_server.sources import Sources\n"
        "original = server.make_server\n"
        "def make_server(*arguments):\n"
        "    print('printed', flush=True)\n"
        "    os.write(1, b'written\\n')\n"
        "    return original(*arguments)\n"
        "server.make_server = make_server\n"
        "sys.exit(server.main(Configuration(Sources()), ['/nonexistent']))\n"
    )
    wire = Wire([sys.executable, str(noisy)], place)
    wire.initialize()
    _, errors = wire.close()
    assert "printed" in errors
    assert "written" in errors


def test_the_end_of_stdin_ends_the_server(place: StubPlace) -> None:
    """The editor has died. The shared engine stays for its idle time, but it is no child."""
    wire = Wire(stub_server(place), place)
    wire.initialize()
    wire.send("initialized", {})
    wire.receive_until(lambda message: message.get("params", {}).get("state") == "ready")
    code, _ = wire.close()
    assert code == 1  # LSP: without a shutdown request
    [pid] = place.pids()
    assert not has_ended(pid, timeout_s=0.1)


def test_an_editor_that_does_not_wait_leaves_no_traceback(place: StubPlace) -> None:
    """Neovim closes both pipes if the answer to `shutdown` takes too long."""
    wire = Wire(stub_server(place), place)
    wire.initialize()
    assert wire.process.stdout is not None
    wire.process.stdout.close()
    wire.send("shutdown", None, id=2)
    wire.send("exit", None)
    assert wire.process.stdin is not None
    wire.process.stdin.close()
    assert wire.process.wait(20) == 0
    assert wire.process.stderr is not None
    errors = wire.process.stderr.read().decode()
    assert "Traceback" not in errors


def test_exit_without_shutdown_is_code_1_and_with_it_0(place: StubPlace) -> None:
    wire = Wire(stub_server(place), place)
    wire.initialize()
    wire.send("exit", None)
    assert wire.close()[0] == 1
    wire = Wire(stub_server(place), place)
    wire.initialize()
    wire.send("shutdown", None, id=2)
    assert wire.receive_until(lambda message: message.get("id") == 2)["result"] is None
    wire.send("exit", None)
    assert wire.close()[0] == 0


def test_bytes_that_are_no_json_are_survived(place: StubPlace) -> None:
    wire = Wire(stub_server(place), place)
    wire.initialize()
    wire.send_bytes(b"{not json")
    wire.send_bytes(b"\xff\xfe")
    wire.send_bytes(b"[]")
    wire.send("shutdown", None, id=2)
    assert "result" in wire.receive_until(lambda message: message.get("id") == 2)
    assert wire.process.poll() is None
    wire.close()


@pytest.mark.parametrize(
    "capabilities",
    [
        {"textDocument": {"completion": {"completionItem": {"tagSupport": {"valueSet": [99]}}}}},
        {"general": {"positionEncodings": ["utf-7", "utf-8"]}, "textDocument": "new in 2030"},
        {"unheardOf": {"a": 1}, "experimental": [1, 2]},
    ],
)
def test_capabilities_of_a_newer_client_are_accepted(
    place: StubPlace, capabilities: dict[str, Any]
) -> None:
    wire = Wire(stub_server(place), place)
    result = wire.initialize(capabilities)["result"]
    expected = "utf-8" if "general" in capabilities else "utf-16"
    assert result["capabilities"]["positionEncoding"] == expected
    wire.close()


def test_logs_never_hold_source_text(place: StubPlace, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    settings = json.dumps({"log_level": "debug", "log_file": str(log)})
    place.write_script(Answer(["SECRET_ANSWER"]), Answer([], failure="no"))
    wire = Wire([sys.executable, STUB_SERVER, str(place.script_path), settings], place)
    wire.initialize()
    wire.send("initialized", {})
    document = {"uri": "file:///a.py", "languageId": "python", "version": 1}
    wire.send("textDocument/didOpen", {"textDocument": {**document, "text": "SECRET = \n"}})
    wire.send("textDocument/didOpen", {"textDocument": {**document, "text": ["SECRET"]}})
    for request_id, line in ((2, 0), (3, 1)):
        params = {"textDocument": document, "position": {"line": line, "character": 0}}
        wire.send(
            "textDocument/inlineCompletion",
            {**params, "context": {"triggerKind": 1}},
            id=request_id,
        )
        wire.receive_until(lambda message, wanted=request_id: message.get("id") == wanted)
    change = {"textDocument": document, "contentChanges": [{"text": "SECRET", "range": "SECRET"}]}
    wire.send("textDocument/didChange", change)
    _, errors = wire.close()
    engine_logs = [path.read_text() for path in (place.folder / "state").rglob("*.log")]
    assert engine_logs
    assert "engine" in log.read_text()  # there is a log
    for text in (errors, log.read_text(), *engine_logs):
        assert not re.search("SECRET", text)


async def test_two_editors_share_the_engine(place: StubPlace) -> None:
    editors = await asyncio.gather(
        start_editor(place, VS_CODE), start_editor(place, NEOVIM), start_editor(place, NEOVIM)
    )
    for editor in editors:
        editor.open("x = \n")
        assert len(await editor.ask(0, 4)) == 1
    assert len(place.pids()) == 1
    for editor in editors:
        await stop_editor(editor)


async def test_the_entry_point_is_what_a_person_starts(place: StubPlace) -> None:
    editor = await connect([SEED_LSP, *MISSING_MODEL], place, VS_CODE)
    status = await editor.wait_for_state("failed")
    assert "/nonexistent/model.gguf" in status.message
    editor.open("x = \n")
    assert await editor.ask(0, 4) == []
    await eventually(lambda: editor.log_messages)
    assert not loads_torch(editor.server_pid)
    await stop_editor(editor)
