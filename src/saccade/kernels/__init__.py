"""The ground of the model: every op it asks of the machine, and the choice of who performs it."""

from saccade.kernels.batch import AttentionBatch
from saccade.kernels.ops import Ops, explain, prepare, select

__all__ = ["AttentionBatch", "Ops", "explain", "prepare", "select"]
