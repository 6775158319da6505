"""What decoding in a process of its own costs instead of here: python benchmarks/decoders.py [megapixels ...]"""

from __future__ import annotations

import io
import statistics
import sys
import time
from contextlib import nullcontext

import numpy as np
from PIL import Image

from saccade.media.decoders import Decoders
from saccade.media.fetch import Fetcher
from saccade.media.frames import Sampling, decode
from saccade.media.limits import Decoding, MediaLimits
from saccade.media.pixels import ImagePlan, prepare, prepare_resize
from saccade.types import MediaRef

ROUNDS = 40


def main(sizes: list[float]) -> None:
    """One line for each size and format: milliseconds from bytes to resized pixels, here and there, medians in turn."""
    limits = MediaLimits()
    plan = ImagePlan(1024, 1024 * 1024)
    prepare_resize(1)
    decoders = Decoders(limits, Sampling(), Decoding(2))
    for megapixels in sizes:
        side = round((megapixels * 1e6) ** 0.5)
        y, x = np.mgrid[:side, :side]
        waves = np.stack([np.sin(x / 31 + y / 17), np.cos(x / 23), np.sin((x + 2 * y) / 41)], axis=-1) * 110 + 128
        waves += np.random.default_rng(0).normal(0, 6, waves.shape)
        image = Image.fromarray(np.clip(waves, 0, 255).astype(np.uint8))
        for form in ("JPEG", "PNG"):
            file = io.BytesIO()
            image.save(file, form, quality=85)
            ref = MediaRef("image", "", data=file.getvalue())
            blob = Fetcher(limits).fetch(ref)
            took: dict[str, list[float]] = {"here": [], "there": []}
            for _ in range(ROUNDS if megapixels < 4 else 10):
                for place, times in took.items():
                    began = time.perf_counter()
                    here = nullcontext(None) if place == "there" else nullcontext(decode(blob, ref, limits))
                    with here as frames:
                        if frames:
                            prepare(frames, plan)
                        else:
                            with decoders.decode(blob, ref) as given:
                                prepare(given, plan)
                    times.append((time.perf_counter() - began) * 1e3)
            here_ms, there_ms = (statistics.median(times) for times in took.values())
            print(
                f"{megapixels:g} MP {form} ({len(ref.data or b'') / 1e6:.1f} MB): here {here_ms:.1f} ms, "
                f"there {there_ms:.1f} ms, {there_ms - here_ms:+.1f} ms"
            )
    decoders.close()


if __name__ == "__main__":
    main([float(word) for word in sys.argv[1:]] or [1.0, 1.048576, 12.0])
