"""How well the network predicts a folder of code: perplexity, and what an adapter makes of masks.

Runs the network itself, without an engine. Knows no tasks and no runs.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from model.format.syntax import language_of
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import read_vocabulary
from model.network import KVCache, Transformer
from model.packed import pack
from model.weights import load_model
from sampler.load import choose_device

WINDOW = 1024
"""Tokens predicted from what stands before them in the same piece of a file."""
_BLOCK = 16
_ROWS = 128
"""Rows whose logits exist at a time: 128 x 151,936 floats are 78 MB."""


class PerplexityError(ValueError):
    """A folder without code; one sentence for a person."""


@dataclass
class Totals:
    """Sums over a folder; nats."""

    files: int = 0
    tokens: int = 0
    """Tokens that were predicted: all but the first of each window."""
    bytes: int = 0
    nll: float = 0.0
    masked: int = 0
    masked_nll: float = 0.0
    masked_right: int = 0
    seconds: float = field(default=0.0)

    def record(self) -> dict[str, object]:
        """Figures for people: perplexity a token, bits a byte; of masks None without an adapter."""
        has_masks = self.masked > 0
        return {
            "set": "perplexity",
            "files": self.files,
            "n": self.tokens,
            "perplexity": math.exp(self.nll / self.tokens),
            "bits_per_byte": self.nll / math.log(2) / self.bytes,
            "masked_perplexity": math.exp(self.masked_nll / self.masked) if has_masks else None,
            "masked_accuracy": self.masked_right / self.masked if has_masks else None,
            "tokens_per_second": self.tokens / self.seconds,
        }


def measure_perplexity(
    folder: Path,
    model_path: Path,
    *,
    adapter: Path | None,
    device: str,
    dtype: str,
    threads: int | None,
    limit: int | None,
    progress: Callable[[str, int, int], None],
) -> Totals:
    """Measure all source files below `folder`, each in windows of `WINDOW` tokens.

    With an adapter, the last block of 16 of each window is masked but for its first token, and
    filled in one step: the same question as the first denoising step of the sampler.

    Args:
        folder: files with an extension that has a grammar.
        model_path: GGUF file or folder.
        adapter: adapter file.
        device: see `sampler.load.choose_device`.
        dtype: likewise.
        threads: likewise.
        limit: files to read at most, in order of their names; None for all.
        progress: told after each file.

    Raises:
        PerplexityError: if there is no source file.
        ValueError: if the weights cannot be loaded.
    """
    files = sorted(_source_files(folder))[:limit]
    if not files:
        raise PerplexityError(f"{folder} holds no source files.")
    tokenizer = Tokenizer(read_vocabulary(model_path))
    torch_device, torch_dtype = choose_device(device, dtype, threads)
    model = load_model(model_path, dtype=torch_dtype, device=torch_device, adapter=adapter)
    pack(model)
    totals = Totals()
    for index, path in enumerate(files):
        text = path.read_text(encoding="utf-8", errors="replace")
        ids = tokenizer.encode(text)
        started = time.perf_counter()
        for begin in range(0, len(ids), WINDOW):
            window = ids[begin : begin + WINDOW]
            if len(window) > 1:
                _measure_window(model, torch.tensor([window], device=torch_device), totals)
                totals.bytes += len(tokenizer.decode_bytes(window[1:]))
        totals.files += 1
        totals.seconds += time.perf_counter() - started
        progress("reading", index + 1, len(files))
    if totals.tokens == 0:
        raise PerplexityError(f"The source files in {folder} are empty.")
    return totals


def _source_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not is_hidden and language_of(path.name) != "text" and path.is_file():
            yield path


@torch.inference_mode()
def _measure_window(model: Transformer, ids_BT: Tensor, totals: Totals) -> None:
    """Add the negative log-likelihood of tokens 1 … T-1 of a window (1, T)."""
    num_tokens = ids_BT.shape[1]
    parameter = next(model.parameters())
    cache = KVCache.allocate(
        model.config, num_tokens, dtype=parameter.dtype, device=parameter.device
    )
    for start in range(0, num_tokens, _ROWS):
        rows_BT = ids_BT[:, start : start + _ROWS]
        logits_BTV = model(rows_BT, cache=cache, start=start, attention="causal")
        targets_T = ids_BT[0, start + 1 : start + _ROWS + 1]
        logits_TV = logits_BTV[0, : len(targets_T)].float()
        totals.nll += float(functional.cross_entropy(logits_TV, targets_T, reduction="sum"))
        totals.tokens += len(targets_T)
    if model.adapter is None or num_tokens < 2 * _BLOCK:
        return
    start = num_tokens - _BLOCK
    block_BL = ids_BT[:, start:].clone()
    block_BL[:, 1:] = model.config.mask_id
    logits_BLV = model(
        block_BL,
        cache=cache,
        start=start,
        attention="canvas",
        gate_BT=block_BL == model.config.mask_id,
        rows=slice(0, _BLOCK - 1),
    )
    logits_LV, targets_L = logits_BLV[0].float(), ids_BT[0, start + 1 :]
    totals.masked_nll += float(functional.cross_entropy(logits_LV, targets_L, reduction="sum"))
    totals.masked_right += int((logits_LV.argmax(-1) == targets_L).sum())
    totals.masked += _BLOCK - 1
