"""A GGUF file with a part of its vocabulary: the rows that some data uses, byte for byte.

Three quarters of a small model's embedding and head belong to tokens that code never uses. Without
them the weights are a third smaller and every step's head five times as fast, while the layers are
exactly those of the whole model: an update that is trained over one fits the other. To the rest of
the program it is a small vocabulary's model. Knows neither data nor training.
"""

import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from model.format.gguf_file import TensorInfo, read_head
from model.format.vocabulary import byte_characters, read_vocabulary
from model.gguf_source import GGUFSource

Ids = npt.NDArray[np.int64]
_F32 = gguf.GGMLQuantizationType.F32
_VOCABULARY = "tokenizer.ggml."


def kept_ids(source: Path, used: Ids) -> Ids:
    """The ids that stay, ascending: those used, the special ones, and all single bytes.

    A token's number in the trimmed file is its place here.
    """
    vocabulary = read_vocabulary(source)
    spellings = set(byte_characters().values())
    for left, right in vocabulary.merges[:1]:  # a GGUF file has no empty list of merges
        spellings |= {left, right, left + right}
    plain = [id_ for id_, token in enumerate(vocabulary.tokens) if token in spellings]
    always = np.array(sorted({*vocabulary.special_ids, *plain}), dtype=np.int64)
    return np.union1d(used.astype(np.int64), always)


def trim_gguf(source: Path, target: Path, ids: Ids) -> None:
    """Write the model at `source` with the tokens `ids` only.

    Of a tied matrix that is stored twice, only the head is kept: it alone is ever read.

    Raises:
        GGUFError: if the source is no GGUF file or a damaged one.
        WeightsError: if it is of an unknown kind.
    """
    head = read_head(source)
    data: npt.NDArray[np.uint8] = np.memmap(source, dtype=np.uint8, mode="r")
    tensors = dict(head.tensors)
    if GGUFSource(source).config.is_tied and "output.weight" in tensors:
        tensors["token_embd.weight"] = tensors.pop("output.weight")
    architecture = head.metadata["general.architecture"]
    writer = gguf.GGUFWriter(target, architecture)
    for key, value in head.metadata.items():
        if key.startswith(f"{architecture}.") and not isinstance(value, list):
            _add(writer, key, value)
    _add_vocabulary(writer, head.metadata, ids)
    for name, info in tensors.items():
        rows = _rows(data, info)
        if name in ("token_embd.weight", "output.weight"):
            rows = rows[ids]
        if info.type == _F32:
            writer.add_tensor(name, rows.view(np.float32).reshape(len(rows), *info.shape[1:]))
        else:
            writer.add_tensor(name, rows, raw_dtype=info.type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _rows(data: npt.NDArray[np.uint8], info: TensorInfo) -> npt.NDArray[np.uint8]:
    block_size, block_bytes = gguf.GGML_QUANT_SIZES[info.type]
    row_bytes = math.prod(info.shape[1:]) // block_size * block_bytes
    raw = data[info.offset : info.offset + info.shape[0] * row_bytes]
    return raw.reshape(info.shape[0], row_bytes)


def _add_vocabulary(writer: gguf.GGUFWriter, metadata: dict[str, Any], ids: Ids) -> None:
    new_id = {int(id_): index for index, id_ in enumerate(ids)}
    tokens = [metadata[f"{_VOCABULARY}tokens"][id_] for id_ in ids]
    types = [metadata[f"{_VOCABULARY}token_type"][id_] for id_ in ids]
    known = set(tokens)
    merges = [
        merge
        for merge in metadata[f"{_VOCABULARY}merges"]
        if {*merge.split(" "), merge.replace(" ", "")} <= known
    ]
    writer.add_tokenizer_model(metadata[f"{_VOCABULARY}model"])
    writer.add_tokenizer_pre(metadata.get(f"{_VOCABULARY}pre", "default"))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    for end in ("eos", "eot", "eom"):
        id_ = metadata.get(f"{_VOCABULARY}{end}_token_id")
        if id_ in new_id:
            writer.add_uint32(f"{_VOCABULARY}{end}_token_id", new_id[id_])


def _add(writer: gguf.GGUFWriter, key: str, value: object) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
