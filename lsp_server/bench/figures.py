"""Figures and what they were measured on, as numbers for JSON and as words for a person.

Every key ends in its unit. Knows no engine.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsp_server import __version__
from sampler.machine import cpu_name, load_per_cpu, num_cores, usable_cpus
from sampler.profile import BUSY_LOAD

_ROOT = Path(__file__).parents[2]


def spread(values: Sequence[float], unit: str) -> dict[str, Any]:
    """Number, quartiles, 95th and 99th percentile and largest of some values; interpolated."""
    if not values:
        return {"n": 0}
    shares = {"p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99, "most": 1.0}
    found = np.quantile(np.asarray(values, dtype=np.float64), list(shares.values()))
    named = zip(shares, found.tolist(), strict=True)
    return {"n": len(values), **{f"{name}_{unit}": round(value, 3) for name, value in named}}


def describe_machine() -> dict[str, Any]:
    """Processor, version and commit, and how busy it is before anything is measured."""
    return {
        "cpu": cpu_name(),
        "num_cores": num_cores(),
        "num_cpus": len(usable_cpus()),
        "load_before_per_cpu": round(load_per_cpu(), 2),
        "version": __version__,
        "commit": _commit(),
    }


def machine_line(machine: dict[str, Any], engine: dict[str, Any]) -> str:
    """Both in one line for a person."""
    threads = "threads as PyTorch chooses" if not engine["threads"] else _count(engine["threads"])
    commit = f" ({machine['commit']})" if machine["commit"] else ""
    return (
        f"{machine['cpu']}, {machine['num_cores']} cores; seed-lsp {machine['version']}{commit}, "
        f"{engine['model']} on {engine['device']}, {engine['kernels']}, {threads}, "
        f"{'with' if engine['has_adapter'] else 'without'} adapter, "
        f"{'tuned' if engine['is_tuned'] else 'not tuned'}"
    )


def busy_warning(machine: dict[str, Any]) -> str | None:
    """Why the figures are doubtful, if they are."""
    if machine["load_before_per_cpu"] <= BUSY_LOAD:
        return None
    return "the machine was busy with other work: measure again when it is quiet"


def _count(threads: int) -> str:
    return f"{threads} thread{'' if threads == 1 else 's'}"


def _commit() -> str | None:
    """Short git commit, `-dirty` behind it with local changes; None outside of a checkout."""
    if not (_ROOT / ".git").exists():
        return None
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=_ROOT, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
