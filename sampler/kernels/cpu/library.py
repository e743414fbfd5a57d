"""The compiled library: finding it, and its functions with their types. Knows no network.

The library is built by `build_hook.py` when the package is installed, next to this file; a machine
without a C++ compiler has none, and PyTorch computes instead.
"""

import ctypes
import functools
import logging
from ctypes import POINTER, c_char_p, c_float, c_int, c_int32, c_int64, c_void_p
from pathlib import Path

logger = logging.getLogger(__name__)

ABI = 11
"""Of library.h; a library of another one is not used."""

FILE_NAME = "libseed.so"


class NativeError(ValueError):
    """Native kernels were asked for and cannot serve; one sentence for a person."""


class Shape(ctypes.Structure):
    """`Shape` of network.h."""

    _fields_ = (
        ("num_layers", c_int32),
        ("width", c_int32),
        ("num_heads", c_int32),
        ("num_kv_heads", c_int32),
        ("head_dim", c_int32),
        ("ffn_width", c_int32),
        ("vocab_size", c_int32),
        ("norm_eps", c_float),
    )


class Cache(ctypes.Structure):
    """`Cache` of network.h."""

    _fields_ = (
        ("keys", c_void_p),
        ("key_scales", c_void_p),
        ("values", c_void_p),
        ("value_scales", c_void_p),
        ("num_slots", c_int32),
    )


class Call(ctypes.Structure):
    """`Call` of network.h."""

    _fields_ = (
        ("ids", c_void_p),
        ("gate", c_void_p),
        ("places", c_void_p),
        ("caches", POINTER(Cache)),
        ("num_caches", c_int32),
        ("num_rows", c_int32),
        ("num_slots", c_int32),
        ("first_row", c_int32),
        ("end_row", c_int32),
        ("num_early", c_int32),
        ("logits", c_void_p),
        ("best", c_void_p),
        ("confidences", c_void_p),
        ("shares", c_void_p),
        ("num_draft_ids", c_int32),
        ("num_candidates", c_int32),
        ("ranks_all", c_int32),
        ("candidates", c_void_p),
        ("log_probabilities", c_void_p),
        ("states", c_void_p),
        ("may_interrupt", c_int32),
    )


class Branch(ctypes.Structure):
    """`Branch` of coupling.h."""

    _fields_ = (
        ("num_rows", c_int32),
        ("num_candidates", c_int32),
        ("first", c_int32),
        ("states", c_void_p),
        ("candidates", c_void_p),
        ("log_probabilities", c_void_p),
        ("tokens", c_void_p),
        ("probabilities", c_void_p),
    )


LINEARS = ("qkv", "out", "gate_up", "down")
MATRICES = (
    "embedding",
    "head",
    "early",
    *LINEARS,
    *(f"{linear}.{part}" for linear in LINEARS for part in "ab"),
)
"""In the order of `MatrixKind`; the last eight are the low-rank updates of the linear layers."""
VECTORS = (
    "qkv_bias",
    "attention_norm",
    "ffn_norm",
    "final_norm",
    "mask_embedding",
    "cosines",
    "sines",
    "early_bias",
)
"""In the order of `VectorKind`."""


@functools.cache
def load_library() -> ctypes.CDLL:
    """The library with all its functions declared.

    Raises:
        NativeError: if there is none, or one of another version.
    """
    path = Path(__file__).with_name(FILE_NAME)
    if not path.exists():
        raise NativeError(
            "The native kernels are not built; install seed-lsp again on a machine with a C++ "
            "compiler, or choose kernels torch."
        )
    try:
        library = ctypes.CDLL(str(path))
        abi = library.seed_abi()
    except (OSError, AttributeError) as error:
        raise NativeError(f"The native kernels at {path} cannot be loaded: {error}.") from error
    if abi != ABI:
        raise NativeError(
            f"The native kernels at {path} are of version {abi}, not {ABI}; install seed-lsp again."
        )
    library.seed_paths.restype = c_char_p
    library.seed_wrong_paths.restype = c_char_p
    if wrong := library.seed_wrong_paths():
        logger.warning(
            "native code paths compute wrongly here and are not used: %s", wrong.decode()
        )
    library.seed_open.argtypes = [POINTER(Shape), c_int, c_char_p]
    library.seed_open.restype = c_void_p
    library.seed_close.argtypes = [c_void_p]
    library.seed_close.restype = None
    library.seed_path.argtypes = [c_void_p]
    library.seed_path.restype = c_char_p
    library.seed_add_matrix.argtypes = [c_void_p, c_int, c_int, c_int, c_int]
    library.seed_add_matrix.restype = None
    library.seed_set_rows.argtypes = [c_void_p, c_int, c_int, c_int, c_int, c_void_p]
    library.seed_set_rows.restype = None
    library.seed_set_coupling.argtypes = [c_void_p, c_int, c_void_p, c_void_p, c_void_p]
    library.seed_set_coupling.restype = None
    library.seed_couple.argtypes = [c_void_p, POINTER(Branch)]
    library.seed_couple.restype = None
    library.seed_tie.argtypes = [c_void_p]
    library.seed_tie.restype = None
    library.seed_set_vector.argtypes = [c_void_p, c_int, c_int, c_void_p, c_int64]
    library.seed_set_vector.restype = None
    library.seed_enable_update.argtypes = [c_void_p, c_int]
    library.seed_enable_update.restype = None
    library.seed_trim.argtypes = []
    library.seed_trim.restype = None
    library.seed_weight_bytes.argtypes = [c_void_p]
    library.seed_weight_bytes.restype = c_int64
    library.seed_forward.argtypes = [c_void_p, POINTER(Call)]
    library.seed_forward.restype = c_int
    library.seed_interrupt.argtypes = [c_void_p, c_int]
    library.seed_interrupt.restype = None
    return library


def is_available() -> bool:
    """Whether there is a library that can be used."""
    try:
        load_library()
    except NativeError:
        return False
    return True


def paths() -> list[str]:
    """The code paths that this machine can run, best first; the last one is `portable`.

    Raises:
        NativeError: if there is no library.
    """
    names: bytes = load_library().seed_paths()
    return names.decode().split(",")
