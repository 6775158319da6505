"""How much of everything a run measures: plans, each one frozen record; knows no workload."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes in pixels, texts in words, answers in tokens."""

    side: int = 1024
    """Of the usual picture, a square."""
    words: int = 512
    """Of the usual question."""
    short_words: int = 64
    samples: int = 11
    few_samples: int = 5
    """Where one sample is dear."""
    warmup: int = 3
    decode_tokens: int = 512
    decode_runs: int = 3
    streams: int = 8
    stream_tokens: int = 1500
    arrivals: int = 24
    arrival_seconds: float = 0.15
    settle_seconds: float = 0.5
    """How long the streams run before the first picture arrives."""
    concurrency: tuple[int, ...] = (8, 32, 128)
    rounds: int = 3
    """Requests of each worker under load; two where there are a hundred workers or more."""
    load_tokens: int = 64
    sides: tuple[int, ...] = (224, 448, 672, 1024, 1536, 2048)
    turns: int = 8
    turn_tokens: int = 32
    screen: tuple[int, int] = (1440, 896)
    screens: int = 24
    frame: tuple[int, int] = (640, 480)
    frames: int = 60
    frame_tokens: int = 8
    frames_in_flight: tuple[int, ...] = (1, 4)
    prompts: tuple[int, ...] = (1024, 4096, 16384, 32768)
    """Tokens of the long prompts."""


FULL = Plan()
QUICK = Plan(
    side=448,
    words=64,
    short_words=16,
    samples=5,
    few_samples=2,
    warmup=1,
    decode_tokens=96,
    stream_tokens=160,
    arrivals=4,
    concurrency=(2, 8),
    rounds=2,
    load_tokens=24,
    sides=(224, 448, 672),
    turns=3,
    turn_tokens=8,
    screen=(640, 480),
    screens=6,
    frame=(320, 256),
    frames=8,
    prompts=(512, 1024, 4096),
)
"""Minutes become one: for the small bundled model on a laptop, and to see that everything runs."""
ABLATION = replace(FULL, samples=7, few_samples=0, decode_tokens=256, arrivals=12, concurrency=(8,))
QUICK_ABLATION = replace(QUICK, few_samples=0, concurrency=(4,))
"""For servers that are many: without the large pictures, and one concurrency under load."""
