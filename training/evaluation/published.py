"""Figures that others published, each with what it was measured on. None was measured here.

Shares that pass the tests (pass@1) only: exact match on other benchmarks is another thing, and is
left out. Knows nothing of runs.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Quality:
    """Somebody's pass@1, in percent."""

    set: str
    """By its name in `sets`."""
    model: str
    pass_rate: float
    source: str


@dataclass(frozen=True)
class Speed:
    """Somebody's speed; None where it was not told."""

    model: str
    tokens_per_second: str | None
    against_ar: str | None
    """Times the speed of an autoregressive model, as they compared."""
    machine: str
    source: str


_QWEN = "Qwen2.5-Coder report, arXiv 2409.12186"
_OPEN_DLLM = "README of github.com/pengzhangzhi/Open-dLLM"
_DREAM_ON = "DreamOn, arXiv 2602.01326"
_DLLM = "model card of github.com/ZHZisZZ/dllm"

QUALITY = (
    Quality("single-line", "Qwen2.5-Coder-0.5B, AR", 74.2, "second hand, origin not checked"),
    Quality("single-line", "Open-dCoder-0.5B, lengths averaged", 32.5, _OPEN_DLLM),
    Quality("single-line", "Open-dCoder-0.5B, true length given", 77.4, _OPEN_DLLM),
    Quality("single-line", "Dream-Coder-7B + DreamOn", 92.1, _DREAM_ON),
    Quality("single-line", "Qwen2.5-Coder-7B, AR", 92.6, _DREAM_ON),
    Quality("humaneval", "Qwen2.5-Coder-0.5B, AR", 28.0, _QWEN),
    Quality("humaneval", "Qwen2.5-Coder-0.5B-Instruct, AR", 61.6, _QWEN),
    Quality("humaneval", "Qwen2.5-Coder-0.5B-Instruct as BD3-LM", 39.0, _DLLM),
    Quality("humaneval", "Open-dCoder-0.5B", 20.8, _OPEN_DLLM),
    Quality("mbpp", "Qwen2.5-Coder-0.5B, AR", 52.9, _QWEN),
    Quality("mbpp", "Qwen2.5-Coder-0.5B-Instruct as BD3-LM", 33.2, _DLLM),
    Quality("mbpp", "Open-dCoder-0.5B", 16.7, _OPEN_DLLM),
)
SPEED = (
    Speed("Seed Diffusion", "2,146", "5.4", "H20", "arXiv 2508.02193"),
    Speed("Mercury Coder Mini", "1,109", None, "H100", "arXiv 2506.17298"),
    Speed("Gemini Diffusion", "1,479", None, "not told", "Google DeepMind's page"),
    Speed("TiDAR-1.5B, batch 1", None, "4.71", "H100", "arXiv 2511.08923"),
    Speed("LLaDA2.0-flash-CAP, 100B", "535", "2.1", "not told", "LLaDA2.0's report"),
)
