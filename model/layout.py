"""Where each Hugging Face tensor lies in the fused parameters of `model.network.Transformer`.

Knows names and shapes, no numbers and no files.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from model.config import ModelConfig


@dataclass(frozen=True)
class Place:
    """A tensor of a file, and the rows of a parameter that hold it here."""

    name: str
    """As Hugging Face calls it."""
    parameter: str
    """As `Transformer.named_parameters` calls it."""
    begin: int
    """The first of its rows there."""
    shape: tuple[int, ...]


def places(config: ModelConfig) -> Iterator[Place]:
    """All tensors that a network of this shape is made of; a tied head is the embedding."""
    width = config.width
    q_width, kv_width = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    vocabulary = (config.vocab_size, width)
    yield Place("model.embed_tokens.weight", "embedding.weight", 0, vocabulary)
    if not config.is_tied:
        yield Place("lm_head.weight", "head.weight", 0, vocabulary)
    yield Place("model.norm.weight", "norm.weight", 0, (width,))
    for index in range(config.num_layers):
        old, new = f"model.layers.{index}.", f"blocks.{index}."
        yield Place(old + "input_layernorm.weight", new + "attention_norm.weight", 0, (width,))
        yield Place(old + "post_attention_layernorm.weight", new + "ffn_norm.weight", 0, (width,))
        begin = 0
        for letter, rows in (("q", q_width), ("k", kv_width), ("v", kv_width)):
            stem = f"{old}self_attn.{letter}_proj."
            yield Place(stem + "weight", new + "attention.qkv.weight", begin, (rows, width))
            if config.has_qkv_bias:
                yield Place(stem + "bias", new + "attention.qkv.bias", begin, (rows,))
            begin += rows
        out_shape, ffn_shape = (width, q_width), (config.ffn_width, width)
        yield Place(old + "self_attn.o_proj.weight", new + "attention.out.weight", 0, out_shape)
        yield Place(old + "mlp.gate_proj.weight", new + "ffn.gate_up.weight", 0, ffn_shape)
        yield Place(
            old + "mlp.up_proj.weight", new + "ffn.gate_up.weight", config.ffn_width, ffn_shape
        )
        yield Place(old + "mlp.down_proj.weight", new + "ffn.down.weight", 0, ffn_shape[::-1])
