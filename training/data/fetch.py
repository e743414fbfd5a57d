"""Wheels of packages, fetched by pip: never installed, never imported, nothing of them is run.

Only wheels: to learn the dependencies of a source distribution pip runs its build script, even
where it is only asked to download. Where there is no pure wheel, that of one fixed platform has the
same Python files. Knows nothing of what is in a wheel, and names no host: pip is used as the user
has set it up.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from training.data.source import Release

_TIMEOUT_S = 900
_PURE = ("--implementation", "py", "--abi", "none", "--platform", "any")
_LINUX = (
    *("--implementation", "cp", "--abi", "cp312", "--abi", "abi3", "--abi", "none"),
    *("--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_17_x86_64"),
    *("--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_12_x86_64"),
    *("--platform", "manylinux2010_x86_64", "--platform", "manylinux1_x86_64"),
)
"""The same one whatever the machine is, so that a manifest made on one holds on another."""
_PASSING = (
    *("NewConnectionError", "ConnectTimeout", "name resolution", "ProxyError", "ReadTimeout"),
    *("Connection broken", "ConnectionResetError", "503 Server Error", "502 Server Error"),
    *("429 Client Error", "No space left", "Disk quota", "Permission denied"),
)
"""What pip says when the package is not to blame."""


class FetchError(ValueError):
    """pip could not do its work, today; one sentence for a person."""


class NoWheelError(FetchError):
    """There is no such wheel, tomorrow neither."""


Fetch = Callable[[str, Release | None, Path], Path]
"""Package, the release it has to be or None for the newest, an empty folder → the wheel in it."""


FetchOlder = Callable[[str, str, Path], Path]
"""Package, a version, an empty folder → the newest wheel before that version in it."""


def fetch_wheel(name: str, pin: Release | None, folder: Path) -> Path:
    """Download one wheel with pip.

    Args:
        name: the package.
        pin: release to fetch, by version and sha256; None for the newest.
        folder: empty, where the wheel shall be.

    Raises:
        NoWheelError: if the package index has no fitting wheel, or not the pinned one.
        FetchError: if the network, the disk or pip itself fails.
    """
    requirement = name if pin is None else f"{name}=={pin.version} --hash=sha256:{pin.sha256}"
    return _fetch(name, requirement, folder)


def fetch_older_wheel(name: str, version: str, folder: Path) -> Path:
    """Download the newest wheel that is older than a version.

    Raises:
        NoWheelError: if the package index has no fitting wheel.
        FetchError: if the network, the disk or pip itself fails.
    """
    return _fetch(name, f"{name}<{version}", folder)


def _fetch(name: str, requirement: str, folder: Path) -> Path:
    list_file = folder / "requirements.txt"
    list_file.write_text(requirement + "\n")
    try:
        for platform in (_PURE, _LINUX):
            log = _run_pip(list_file, platform, folder)
            wheel = next(iter(sorted(folder.glob("*.whl"))), None)
            if wheel is not None:
                return wheel
            if any(sign in log for sign in _PASSING):
                raise FetchError(f"pip could not fetch {name}: {_reason(log)}.")
    finally:
        list_file.unlink()
    if "No matching distribution" in log:
        raise NoWheelError("no wheel that is pure or for x86-64 Linux and Python 3.12")
    raise NoWheelError(_reason(log))


def _run_pip(list_file: Path, platform: tuple[str, ...], folder: Path) -> str:
    """What pip wrote; it fails loudly only by leaving no wheel."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    command += ["--python-version", "3.12", *platform, "-d", str(folder), "-r", str(list_file)]
    try:
        # The working directory is ours, so that no module of the user's can shadow one of pip's.
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"pip took longer than {_TIMEOUT_S} s.") from error
    if b"No module named pip" in done.stdout:
        raise FetchError(f"{sys.executable} has no pip, which fetches the packages; install it.")
    return done.stdout.decode(errors="replace")


def _reason(log: str) -> str:
    lines = [line for line in log.splitlines() if line.startswith("ERROR:")] or [log.strip()]
    return lines[-1].removeprefix("ERROR:").strip()[:300].rstrip(".")
