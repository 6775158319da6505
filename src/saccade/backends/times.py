"""Where the time of one request went, put together from what each stage knows: of its pictures, and on both sides of
the border to the engine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from saccade.types import CacheHits, StageTimes


def looked(looks: Iterable[StageTimes]) -> StageTimes:
    """The stages of several pictures: times together, of the caches the worst."""
    looks = tuple(looks)
    levels = {look.cache.pictures for look in looks}
    return StageTimes(
        fetch=sum(look.fetch for look in looks),
        decode_media=sum(look.decode_media for look in looks),
        resize=sum(look.resize for look in looks),
        hash=sum(look.hash for look in looks),
        cache=CacheHits(pictures="miss" if "miss" in levels else "digest" if levels else None),
    )


def whole(here: StageTimes, engine: StageTimes, *, first_token: float, decode: float) -> StageTimes:
    """What was done here before the engine, what the engine tells with its first token, and both together."""
    is_known = here.cache.pictures == "miss" and engine.cache.vision in ("prefix", "device", "host")
    return replace(
        here,
        queue=engine.queue,
        vision=engine.vision,
        prefill=engine.prefill,
        cache=replace(engine.cache, pictures="pixels" if is_known else here.cache.pictures),
        first_token=first_token,
        decode=decode,
    )
