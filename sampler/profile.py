"""The profile of a machine: what was measured there for one model, kept in a small JSON file.

A profile belongs to one `Target` and one version of the measurement; anything else that stands in
its file counts as none. Knows neither how measuring works nor how a choice follows from it; loads
no torch.
"""

import contextlib
import hashlib
import json
import logging
import math
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import cattrs

logger = logging.getLogger(__name__)

VERSION = 1
"""Of the measurement: profiles of another one are measured anew."""

BUSY_LOAD = 0.75
"""Share of the machine in use by others above which figures are doubtful."""

_MAX_FILE_BYTES = 1 << 20
_MAX_HASHED_BYTES = 1 << 27
_converter = cattrs.Converter(forbid_extra_keys=True)


@dataclass(frozen=True)
class Target:
    """What a measurement is good for; it says nothing about any other combination."""

    device: str
    """Name of the CPU or the GPU."""
    num_cores: int
    num_cpus: int
    threads: int | None
    """As a person set them; None where the measurement chooses."""
    kernels: str
    model: str
    adapter: str


@dataclass(frozen=True)
class Profile:
    """What was measured. Rows and tokens in ascending order; times in milliseconds."""

    target: Target
    measured_at: str
    """UTC, ISO 8601."""
    measured_s: float
    """Time that the forwards of the measurement took."""
    threads: int
    costs_ms: tuple[tuple[int, float], ...]
    """(rows, time) of a forward behind about 512 tokens."""
    prefill_ms: tuple[tuple[int, float], ...]
    """(tokens, time) of a forward that only reads context."""
    acceptance: tuple[float, ...] = ()
    """Probability that a block's draft i is the base's choice, given that those before it are."""
    num_judged: int = 0
    """Places at which drafts were compared with the base's own text."""
    load: float = 0.0
    """Share of the machine that was in use by others when the measurement began."""

    @property
    def is_doubtful(self) -> bool:
        """Whether other programs were in the way: good until there is a better one."""
        return self.load > BUSY_LOAD

    def check(self) -> None:
        """Refuse what no measurement can give.

        Raises:
            ValueError: if something is not so.
        """
        for curve in (self.costs_ms, self.prefill_ms):
            sizes = [size for size, _ in curve]
            if not sizes or sizes[0] < 1 or sizes != sorted(set(sizes)):
                raise ValueError(f"sizes are not ascending: {sizes}")
            if not all(math.isfinite(ms) and ms > 0 for _, ms in curve):
                raise ValueError(f"not all times are positive: {curve}")
        if not all(0 <= share <= 1 for share in self.acceptance):
            raise ValueError(f"not all probabilities: {self.acceptance}")
        if self.threads < 1:
            raise ValueError(f"{self.threads} threads")


@dataclass(frozen=True)
class Choice:
    """What follows from a profile."""

    mode: Literal["ar", "exact"]
    """The faster one of the two, whose text is the same."""
    prefill_chunk: int
    """Context tokens per forward."""
    layout: tuple[int, ...]
    """The most frequent forward, as `Branches.sizes`: so many MASK rows behind each chain row."""
    tokens_per_forward: float
    exact_tokens_per_s: float
    """Without drafts copied from the context, which come on top."""
    ar_tokens_per_s: float


def profile_folder() -> Path:
    """Where profiles are kept: beside the folder of fetched weights."""
    from model.hub import cache_folder  # the server loads this module at its start, for the frames

    return cache_folder().parent / "profiles"


def profile_path(target: Target, folder: Path | None = None) -> Path:
    """The file of the profile for `target`."""
    identity = json.dumps([VERSION, asdict(target)])
    name = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return (folder or profile_folder()) / f"{name}.json"


def read_profile(target: Target, folder: Path | None = None) -> Profile | None:
    """The profile for `target`; None if there is none that can be used."""
    path = profile_path(target, folder)
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ValueError("it is too large")
        record = json.loads(path.read_bytes())
        if record.pop("version") != VERSION:
            raise ValueError("it is of another version")
        profile = _converter.structure(record, Profile)
        profile.check()
    except FileNotFoundError:
        return None
    except Exception as error:  # cattrs raises exception groups of many kinds
        logger.warning("the profile %s is not used: %r", path, error)
        return None
    return profile if profile.target == target else None


def write_profile(profile: Profile, folder: Path | None = None) -> Path | None:
    """Keep a profile, all of it or nothing; its file, or None where nothing can be written."""
    path = profile_path(profile.target, folder)
    record: dict[str, Any] = {"version": VERSION, **_converter.unstructure(profile)}
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            temporary = file.name
            json.dump(record, file, indent=1)
        os.replace(temporary, path)  # noqa: PTH105 - the name of an open temporary file
    except OSError as error:
        logger.warning("the profile cannot be kept: %s", error)
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        return None
    return path


def file_identity(path: Path | None) -> str:
    """Tells one file of weights from another: by its name and size, a small one by its content."""
    if path is None:
        return "none"
    try:
        if path.is_dir():
            sizes = [file.stat().st_size for file in path.glob("*.safetensors")]
            return f"{path.name} {sum(sizes)}"
        size = path.stat().st_size
        if size > _MAX_HASHED_BYTES:
            return f"{path.name} {size}"
        with path.open("rb") as file:
            return f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
    except OSError:  # whoever loads it says what is wrong
        return path.name
