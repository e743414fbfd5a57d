"""Figures that others published, each with its source; nothing of this was measured here.

Pass@1 is kept apart from exact match, and speeds of other models on other machines from ours.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One figure of somebody else's."""

    set: str
    model: str
    figure: str
    source: str


QUALITY = (
    Published("single-line", "Qwen2.5-Coder-0.5B, AR", "pass@1 74.2 %", "Open-dLLM's report"),
    Published("single-line", "Open-dCoder-0.5B, own length", "pass@1 32.5 %", "Open-dLLM's report"),
    Published(
        "single-line", "Open-dCoder-0.5B, length given", "pass@1 77.4 %", "Open-dLLM's report"
    ),
    Published("single-line", "Dream-Coder-7B + DreamOn", "pass@1 92.1 %", "DreamOn's report"),
    Published("single-line", "Qwen2.5-Coder-7B, AR", "pass@1 92.6 %", "DreamOn's report"),
    Published("humaneval", "Qwen2.5-Coder-0.5B", "pass@1 28.0 %", "2409.12186"),
    Published("humaneval", "Qwen2.5-Coder-0.5B-Instruct", "pass@1 61.6 %", "2409.12186"),
    Published("humaneval", "Coder-0.5B-bd3lm", "pass@1 39.0 %", "dLLM's report"),
    Published("humaneval", "Open-dCoder-0.5B", "pass@1 20.8 %", "Open-dLLM's report"),
    Published("mbpp", "Qwen2.5-Coder-0.5B", "pass@1 52.9 %", "2409.12186"),
    Published("mbpp", "Coder-0.5B-bd3lm", "pass@1 33.2 %", "dLLM's report"),
    Published("mbpp", "Open-dCoder-0.5B", "pass@1 16.7 %", "Open-dLLM's report"),
)
SPEED = (
    Published("speed", "Seed Diffusion", "2,146 tokens/s on H20; 5.4x an AR model", "2508.02193"),
    Published("speed", "Mercury Coder Mini", "1,109 tokens/s on H100", "2506.17298"),
    Published("speed", "Gemini Diffusion", "1,489 tokens/s", "Google DeepMind's page"),
    Published("speed", "TiDAR-1.5B", "4.71x AR at batch 1 on H100", "2511.08923"),
    Published("speed", "LLaDA2-mini with CAP", "535 tokens/s", "LLaDA2's report"),
)
