"""How much main memory there is for this process: of the machine, or of the container it is in. No torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

from saccade.engine.footprint import DeviceMemory


def main_memory(root: Path = Path("/")) -> DeviceMemory:
    """As it is now. Memory that caches of files would give back counts as free, which is how Linux counts too; a
    container (cgroup v2, or v1) has no more than its limit. `root`: where /proc and /sys are."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    facts = dict(re.findall(r"^(\w+): +(\d+) kB$", _read(root / "proc/meminfo"), re.MULTILINE))
    free = int(facts["MemAvailable"]) * 1024 if "MemAvailable" in facts else whole // 2
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        groups = root / "sys/fs/cgroup"
        most, held = _read(groups / limit).strip(), _read(groups / used).strip()
        if most.isdecimal() and held.isdecimal() and int(most) < whole:
            cached = re.search(
                r"^(?:total_)?inactive_file (\d+)$", _read((groups / limit).parent / "memory.stat"), re.M
            )
            left = int(most) - int(held) + (int(cached[1]) if cached else 0)
            whole, free = int(most), min(free, max(0, left))
    return DeviceMemory(free, whole, is_gpu=False)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
