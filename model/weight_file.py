"""Is this file what it claims to be: kind, length, checksum. And what fetching one can report.

Shared by `hub` and `mirror`. Knows neither where files come from nor what stands in them beyond
the first bytes.
"""

import errno
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

CHUNK_BYTES = 1 << 20
_PICKLE_SUFFIXES = {".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"}
_PICKLE_MAGICS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")


class HubError(ValueError):
    """Weights that cannot be had or may not be used; the message is one sentence for a person."""


@dataclass(frozen=True)
class Progress:
    """What is going on right now; `fraction` in [0, 1], or None where nobody knows."""

    message: str
    fraction: float | None = None


Report = Callable[[Progress], None]


@contextmanager
def plain_errors(place: Path) -> Iterator[None]:
    """Turns failures of the file system at or below `place` into one clear sentence.

    Raises:
        HubError: for every OSError of the body.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or place
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"there is no space left on the device that holds {place}"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            message = f"there is no permission to use {where}"
        else:
            message = f"{where} cannot be used: {error.strerror or error}"
        raise HubError(message) from error


def check_kind(path: Path) -> None:
    """Accept GGUF and safetensors, by name and by first bytes, and refuse all else.

    Raises:
        HubError: for a pickle, an empty file, or anything unknown.
    """
    with path.open("rb") as file:
        start = file.read(9)
    if path.suffix in _PICKLE_SUFFIXES or start.startswith(_PICKLE_MAGICS):
        raise HubError(
            f"{path} is refused because it may hold a pickle, which can run code; "
            "use safetensors or GGUF weights"
        )
    is_gguf = start.startswith(b"GGUF")
    is_safetensors = path.suffix == ".safetensors" and start[8:9] == b"{"
    if not is_gguf and not is_safetensors:
        reason = "empty" if not start else "neither a GGUF nor a safetensors file"
        raise HubError(f"{path} is {reason}, so it cannot be loaded as weights")


def check_content(path: Path, size: int, sha256: str, notes: Path, report: Report) -> None:
    """Accept a file of exactly this size and checksum.

    A note in the folder `notes` (size, time of change, checksum) spares hashing an unchanged file.

    Args:
        size: bytes.
        sha256: lower-case hexadecimal digits.

    Raises:
        HubError: if the file is truncated or holds anything else.
    """
    status = path.stat()
    if status.st_size != size:
        problem = "truncated" if status.st_size < size else "too long"
        raise HubError(
            f"{path} is {problem} ({status.st_size:,} of {size:,} bytes); "
            "delete it and run `seed-lsp fetch`"
        )
    note = {"size": size, "mtime_ns": status.st_mtime_ns, "sha256": sha256}
    place = notes / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]}.json"
    with suppress(OSError, ValueError):
        if json.loads(place.read_text()) == note:
            return
    if checksum(path, report) != sha256:
        raise HubError(
            f"{path} is damaged or is not the file it is named after: its sha256 is not "
            f"{sha256[:12]}…; delete it and run `seed-lsp fetch`"
        )
    with suppress(OSError):  # a read-only cache only costs hashing again
        notes.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(note))


def checksum(path: Path, report: Report) -> str:
    """The sha256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    size = path.stat().st_size
    num_bytes = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            num_bytes += len(chunk)
            report(Progress(f"checking {path.name}", num_bytes / max(size, 1)))
    return digest.hexdigest()
