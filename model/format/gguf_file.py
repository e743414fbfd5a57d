"""The head of a GGUF file: metadata and the table of tensors. Reads no tensor data.

The `gguf` library's reader needs seven seconds for a vocabulary of 150,000 strings, because it
makes a numpy view of each; this walk needs a quarter of one. Everything about the tensor types
themselves (sizes, dequantization) stays with the library. Knows no model and no vocabulary.

Source: the GGUF specification, version 2 and 3 (little endian).
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_LARGEST_COUNT = 1 << 32
"""Counts beyond this mean that the file is not what it says, not that it is large."""


class GGUFError(ValueError):
    """Not a GGUF file, or a damaged one; one sentence for a person."""


@dataclass(frozen=True)
class TensorInfo:
    """Where one tensor's data lies; `shape` is row-major, outermost first."""

    name: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType
    offset: int
    """Bytes from the start of the file."""
    num_bytes: int


@dataclass(frozen=True)
class GGUFHead:
    """Metadata by key (arrays are lists, strings are text) and tensors by name."""

    metadata: dict[str, Any]
    tensors: dict[str, TensorInfo]


def read_head(path: Path) -> GGUFHead:
    """Parse the head and check that all tensor data lies inside the file.

    Raises:
        GGUFError: if it is no GGUF file, or a damaged or truncated one.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise GGUFError(f"{path} is not a GGUF file.")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _parse(path, data)
    except OSError as error:
        raise GGUFError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (struct.error, IndexError, UnicodeDecodeError, OverflowError) as error:
        raise GGUFError(f"{path} is damaged or truncated: its head does not parse.") from error


def _parse(path: Path, data: mmap.mmap) -> GGUFHead:
    cursor = _Cursor(data)
    version, num_tensors, num_pairs = struct.unpack_from("<IQQ", data, 4)
    if version not in (2, 3):
        raise GGUFError(f"{path} has GGUF version {version}; versions 2 and 3 are read.")
    if max(num_tensors, num_pairs) > _LARGEST_COUNT:
        raise GGUFError(f"{path} is damaged: its head does not parse.")
    cursor.position = 24
    metadata = {}
    for _ in range(num_pairs):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.scalar("I"))
    table = [_tensor_entry(path, cursor) for _ in range(num_tensors)]

    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0:
        raise GGUFError(f"{path} is damaged: its alignment is {alignment!r}.")
    begin = -(-cursor.position // alignment) * alignment
    tensors = {}
    for name, shape, kind, offset in table:
        block_size, block_bytes = GGML_QUANT_SIZES[kind]
        num_elements = 1
        for length in shape:
            num_elements *= length
        num_bytes = num_elements // block_size * block_bytes
        tensors[name] = TensorInfo(name, shape, kind, begin + offset, num_bytes)
        if begin + offset + num_bytes > len(data):
            raise GGUFError(
                f"{path} is truncated: tensor {name} ends at byte {begin + offset + num_bytes:,}, "
                f"the file at {len(data):,}; fetch it again."
            )
    return GGUFHead(metadata, tensors)


def _tensor_entry(
    path: Path, cursor: "_Cursor"
) -> tuple[str, tuple[int, ...], GGMLQuantizationType, int]:
    name = cursor.string()
    num_dimensions = cursor.scalar("I")
    lengths = [cursor.scalar("Q") for _ in range(num_dimensions)]
    code, offset = cursor.scalar("I"), cursor.scalar("Q")
    try:
        kind = GGMLQuantizationType(code)
    except ValueError as error:
        raise GGUFError(f"{path}: tensor {name} has the unknown type {code}.") from error
    return name, tuple(reversed(lengths)), kind, offset


class _Cursor:
    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.position = 0

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self.data, self.position)
        self.position += struct.calcsize("<" + code)
        return value

    def string(self) -> str:
        length = self.scalar("Q")
        begin, self.position = self.position, self.position + length
        if self.position > len(self.data):
            raise IndexError
        return self.data[begin : self.position].decode()

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.scalar(_scalar_code(kind))
        item_kind, count = self.scalar("I"), self.scalar("Q")
        if count > _LARGEST_COUNT:
            raise IndexError
        if item_kind in (_STRING, _ARRAY):
            return [self.value(item_kind) for _ in range(count)]
        layout = f"<{count}{_scalar_code(item_kind)}"
        values = struct.unpack_from(layout, self.data, self.position)
        self.position += struct.calcsize(layout)
        return list(values)


def _scalar_code(kind: int) -> str:
    if kind not in _SCALARS:
        raise IndexError
    return _SCALARS[kind]
