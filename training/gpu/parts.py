"""Files in parts that are small enough to travel, and whole again. Knows nothing of their content.

A part's name says which of how many it is and how the checksum of the whole begins:
`NAME.0123456789abcdef.002-of-006`.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

MIB = 1 << 20
_NAME = re.compile(r"(?P<name>.+)\.(?P<hash>[0-9a-f]{16})\.(?P<index>\d{3})-of-(?P<count>\d{3})")


class PartsError(ValueError):
    """Parts that are no whole; one sentence for a person."""


def split(path: Path, place: Callable[[int], Path], num_bytes: int) -> list[Path]:
    """Copy a file into parts of at most `num_bytes`; `place` gives the folder of each.

    Parts of the same name that are already in these folders are replaced.
    """
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    size = path.stat().st_size
    count = max(-(-size // num_bytes), 1)
    written = []
    with path.open("rb") as file:
        for index in range(count):
            folder = place(index)
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob(f"{path.name}.*-of-*"):
                if old not in written:
                    old.unlink()
            part = folder / f"{path.name}.{checksum}.{index + 1:03}-of-{count:03}"
            part.write_bytes(file.read(num_bytes))
            written.append(part)
    return written


def join_parts(folder: Path, name: str, target: Path) -> Path:
    """Put the parts of a file, anywhere below a folder, together.

    Raises:
        PartsError: if some are missing, are from several wholes, or are damaged.
    """
    found: dict[int, Path] = {}
    wholes = set()
    for path in sorted(folder.rglob(f"{name}.*-of-*")):
        match = _NAME.fullmatch(path.name)
        if match is not None and match["name"] == name:
            found[int(match["index"])] = path
            wholes.add((match["hash"], int(match["count"])))
    if not wholes:
        raise PartsError(f"{folder} holds no parts of {name}.")
    if len(wholes) > 1:
        raise PartsError(f"{folder} holds parts of several files {name}; keep those of one.")
    ((checksum, count),) = wholes
    missing = [index for index in range(1, count + 1) if index not in found]
    if missing:
        raise PartsError(f"{folder} lacks part {missing[0]} of {count} of {name}.")
    digest = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        for index in range(1, count + 1):
            content = found[index].read_bytes()
            digest.update(content)
            file.write(content)
    if not digest.hexdigest().startswith(checksum):
        raise PartsError(f"The parts of {name} in {folder} are damaged; send them again.")
    return target
