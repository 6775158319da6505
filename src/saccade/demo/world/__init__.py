"""The synthetic picture world the demo model learns from: `draw(seed, index, world) -> Sample`."""

from saccade.demo.world.draw import draw
from saccade.demo.world.sample import Sample, Turn, World

__all__ = ["Sample", "Turn", "World", "draw"]
