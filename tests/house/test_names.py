"""Test files have names of their own, since pytest knows them by nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path


def test_no_two_test_files_share_a_name() -> None:
    names = Counter(path.name for path in Path(__file__).parents[1].rglob("test_*.py"))
    assert names
    assert [name for name, count in names.items() if count > 1] == []
