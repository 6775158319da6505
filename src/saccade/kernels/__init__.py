"""The ground of the model: every op it asks of the machine, and the choice of who performs it."""

from saccade.kernels.ops import Ops, explain, select

__all__ = ["Ops", "explain", "select"]
