"""Lists of measured values become figures with their spread; knows no workload."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LOWER_IS_BETTER = frozenset({"ms", "s", "GB", "ms/req"})


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a report. `value` is None when nothing could be measured."""

    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    """Least and greatest of the `count` values behind it, where it is their median."""
    count: int | None = None

    def to_json(self) -> dict[str, Any]:
        facts = {"value": self.value, "unit": self.unit, "low": self.low, "high": self.high, "count": self.count}
        return {
            name: round(fact, 4) if isinstance(fact, float) else fact
            for name, fact in facts.items()
            if fact is not None or name == "value"
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Figure:
        return cls(**data)


def median(values: Sequence[float], unit: str) -> Figure:
    """The median with least and greatest."""
    if not values:
        return Figure(None, unit, count=0)
    return Figure(statistics.median(values), unit, min(values), max(values), len(values))


def percentile(values: Sequence[float], percent: float, unit: str) -> Figure:
    """The smallest value that at least `percent` % of all do not exceed."""
    if not values:
        return Figure(None, unit, count=0)
    ordered = sorted(values)
    return Figure(ordered[max(1, math.ceil(percent / 100 * len(ordered))) - 1], unit, count=len(ordered))


def rate(amount: float, seconds: float, unit: str) -> Figure:
    """`amount` for each second; nothing when no time passed or nothing came."""
    return Figure(amount / seconds if amount > 0 and seconds > 0 else None, unit)


def times_better(value: Figure | None, base: Figure | None) -> float | None:
    """How many times better than `base`: above 1 is better, whichever way the unit runs."""
    if value is None or base is None or not value.value or not base.value:
        return None
    return base.value / value.value if value.unit in LOWER_IS_BETTER else value.value / base.value
