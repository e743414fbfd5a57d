"""What this machine is, as far as the speed of a forward depends on it.

Reads what the operating system says; never loads torch. Knows no network.
"""

import os
import platform
import re
import subprocess
from pathlib import Path

CPU_FOLDER = Path("/sys/devices/system/cpu")
CPU_FILE = Path("/proc/cpuinfo")


def usable_cpus() -> set[int]:
    """The logical CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def num_cores() -> int:
    """Physical cores among the CPUs that this process may use."""
    cpus = usable_cpus()
    siblings = {}
    for cpu in cpus:
        try:
            path = CPU_FOLDER / f"cpu{cpu}" / "topology" / "thread_siblings_list"
            siblings[cpu] = path.read_text().strip()
        except OSError:  # not Linux, or a container that hides it: each CPU counts as a core
            siblings[cpu] = str(cpu)
    return count_cores(siblings)


def count_cores(siblings: dict[int, str]) -> int:
    """Distinct cores of CPUs, each with the list of those that share its core."""
    return max(len(set(siblings.values())), 1)


def cpu_name() -> str:
    """What distinguishes this kind of CPU from others, as well as the system says it."""
    try:
        name = parse_cpu_name(CPU_FILE.read_text())
    except OSError:
        name = ""
    if not name and platform.system() == "Darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        name = done.stdout.strip()
    return name or platform.processor() or platform.machine()


def parse_cpu_name(text: str) -> str:
    """The name of the first CPU in the text of /proc/cpuinfo; empty if it has none.

    Virtual machines call very different ones alike (`AMD EPYC`), so the numbers are part of it.
    """
    values = []
    for key in ("model name", "cpu family", "model", "stepping"):
        found = re.search(rf"^{key}\s*: (.*)$", text, re.MULTILINE)
        if found:
            values.append(found.group(1).strip())
    return " ".join(values)


def thread_counts(cores: int, cpus: int) -> tuple[int, ...]:
    """Numbers of threads worth a try: one a core, and one a logical CPU if those are more."""
    return (cores,) if cores == cpus else (cores, cpus)


def load_per_cpu() -> float:
    """Share of the machine that was in use in the last minute; 0 where the system does not say."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except OSError:
        return 0.0
