"""Shape of a network: one frozen record, and the sizes that have a name. Knows no tensors."""

from dataclasses import dataclass
from typing import Literal

Architecture = Literal["qwen2", "llama"]


@dataclass(frozen=True)
class ModelConfig:
    """Everything that determines the shapes and the arithmetic of a network."""

    name: str
    architecture: Architecture
    vocab_size: int
    num_layers: int
    width: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_width: int
    rope_theta: float
    norm_eps: float
    has_qkv_bias: bool
    is_tied: bool
    """Whether input embedding and head are one matrix."""
    max_positions: int
    rope_factors: tuple[float, ...] | None = None
    """Each rotary frequency is divided by its factor (head_dim / 2 of them); None means by 1."""

    @property
    def mask_id(self) -> int:
        """The id of MASK: one past the vocabulary, so that no tokenizer yields it and the head has
        no row for it: its probability is zero by construction."""
        return self.vocab_size


NAMED: dict[str, ModelConfig] = {
    "debug": ModelConfig(
        name="debug",
        architecture="qwen2",
        vocab_size=512,
        num_layers=2,
        width=64,
        num_heads=4,
        num_kv_heads=2,
        head_dim=16,
        ffn_width=128,
        rope_theta=10_000.0,
        norm_eps=1e-6,
        has_qkv_bias=True,
        is_tied=False,
        max_positions=1024,
    ),
    "qwen2.5-coder-0.5b": ModelConfig(
        name="qwen2.5-coder-0.5b",
        architecture="qwen2",
        vocab_size=151_936,
        num_layers=24,
        width=896,
        num_heads=14,
        num_kv_heads=2,
        head_dim=64,
        ffn_width=4864,
        rope_theta=1_000_000.0,
        norm_eps=1e-6,
        has_qkv_bias=True,
        is_tied=True,
        max_positions=32_768,
    ),
}
"""`debug` is a tiny real model that serves the tests; the other names are real sizes."""
