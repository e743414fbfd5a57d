"""The bench of the GPU runs, here on a CPU with the debug model: every record, and a last one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
BENCH = Path(__file__).parents[1] / "bench" / "bench_gpu.py"
OPTIONS = ["--device", "cpu", "--shape", "debug", "--contexts", "80", "--rows", "3"]


@pytest.mark.slow
def test_bench_gpu_tells_all(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH), "--out", str(tmp_path), *OPTIONS]
    command += ["--repeats", "1", "--layouts", "13 rows, tapered"]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = (tmp_path / "bench_gpu.jsonl").read_text().splitlines()
    assert done.stdout.splitlines() == lines
    records = [json.loads(line) for line in lines]
    kinds = [record["kind"] for record in records]
    assert kinds[0] == "machine"
    assert kinds[-1] == "summary"
    assert {"step", "diffusion", "host", "together", "completion", "kernel"} <= set(kinds)
    simulated = [
        record for record in records if record.get("mode") == "exact" and "p50_ms" in record
    ]
    assert simulated
    assert all(record["is_simulated"] for record in simulated)
    names = {record["name"] for record in records if record["kind"] == "kernel"}
    matrices, others = {"qkv", "out", "gate_up", "down"}, {"add_norm", "rope", "attention"}
    assert names == {*matrices, *others, "judge", "couple"}
