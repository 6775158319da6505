"""What this machine and its software are, and what a process on it has used; knows nothing of what is measured."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("saccade", "torch", "triton", "numpy", "pillow", "uvicorn", "fastapi")


def machine() -> dict[str, Any]:
    """Processor, memory, GPUs and system."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": _nvidia("--query-gpu=name,memory.total,driver_version"),
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Of what matters and is installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def family(pid: int) -> list[int]:
    """A process and all that it started. Only itself where the system does not tell."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(status.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def peak_memory(pid: int) -> float | None:
    """GB of main memory that a process and its children held at most, each counted at its own peak."""
    sizes = []
    for one in family(pid):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{one}/status").read_text()
            sizes += [int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM:")]
    return sum(sizes) * 1024 / 1e9 if sizes else None


def cpu_seconds(pid: int) -> float | None:
    """Processor time of one process and its threads so far, without the processes it started."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return None


def gpu_memory(pid: int) -> float | None:
    """GB of GPU memory that a process and its children hold now. None where the driver names no processes, as in most
    containers."""
    members = set(map(str, family(pid)))
    rows = [row.split(", ") for row in _nvidia("--query-compute-apps=pid,used_memory", "nounits")]
    used = [int(row[1]) for row in rows if row[0] in members and row[1].isdecimal()]
    return sum(used) * 2**20 / 1e9 if used else None


def gpu_memory_used() -> float | None:
    """GB of GPU memory that all processes of this machine hold now, on all its GPUs."""
    rows = [row for row in _nvidia("--query-gpu=memory.used", "nounits") if row.isdecimal()]
    return sum(map(int, rows)) * 2**20 / 1e9 if rows else None


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _nvidia(query: str, *form: str) -> list[str]:
    """Rows of an answer of nvidia-smi; none where there is no such GPU."""
    if shutil.which("nvidia-smi") is None:
        return []
    words = ["nvidia-smi", query, "--format=" + ",".join(("csv", "noheader", *form))]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]
