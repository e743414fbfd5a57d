"""Who computes a step: the Triton kernels, or their torch twins, which are their oracle.

Knows neither network nor loop; both sets have the same signatures.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from sampler.kernels.triton.advance import advance, advance_twin
from sampler.kernels.triton.attention import attention, attention_twin
from sampler.kernels.triton.couple import couple, couple_twin
from sampler.kernels.triton.embed import embed, embed_twin
from sampler.kernels.triton.head import Verdict, judge, judge_twin
from sampler.kernels.triton.linear import linear, linear_twin, swiglu, swiglu_twin
from sampler.kernels.triton.norm import add_norm, add_norm_twin
from sampler.kernels.triton.rope import rotate_and_store, rotate_and_store_twin
from sampler.kernels.triton.unmask import unmask, unmask_twin


@dataclass(frozen=True)
class KernelSet:
    """One function for each kind of launch; see the files of `sampler.kernels.triton`."""

    embed: Callable[..., Tensor]
    add_norm: Callable[..., Tensor]
    linear: Callable[..., Tensor]
    swiglu: Callable[..., Tensor]
    rotate_and_store: Callable[..., Tensor]
    attention: Callable[..., Tensor]
    judge: Callable[..., Verdict]
    couple: Callable[..., None]
    unmask: Callable[..., None]
    advance: Callable[..., None]
    is_capturable: bool
    """Whether launches never ask the device, so that a graph can hold them."""


TRITON = KernelSet(
    embed,
    add_norm,
    linear,
    swiglu,
    rotate_and_store,
    attention,
    judge,
    couple,
    unmask,
    advance,
    is_capturable=True,
)
TWINS = KernelSet(
    embed_twin,
    add_norm_twin,
    linear_twin,
    swiglu_twin,
    rotate_and_store_twin,
    attention_twin,
    judge_twin,
    couple_twin,
    unmask_twin,
    advance_twin,
    is_capturable=False,
)
