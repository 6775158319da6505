"""What attention over paged keys and values must know of one step, as tensors on the device; knows no requests.

Keys and values of a layer lie in blocks: k_cache and v_cache [num_blocks, block_size, Hk, D]. Row `slot` of a layer is
block slot // block_size, place slot % block_size. Block 0 belongs to nobody: rows that only fill up a step are
written there.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class AttentionBatch:
    """N rows of S sequences, packed in the order of the sequences; the rows are the last of each sequence's keys.

    Query row j of the q_s rows of sequence s sees keys 0 .. context_lens[s] - q_s + j. Two sequences with blocks of 4:
    one decodes with 6 keys, one prefills 3 of 5 rows: cu_q [0, 1, 4], context_lens [6, 5], block_tables
    [[7, 2], [3, 9]], slots [2*4+1, 3*4+2, 3*4+3, 9*4+0]. A sequence that only fills up a step has context_lens 0 and
    one row; what comes out of it is 0.
    """

    slots: Tensor
    """int64 [N]: where each row's key and value are written."""
    block_tables: Tensor
    """int32 [S, B]: the blocks of each sequence in order; entries behind its last block are any valid block."""
    cu_q: Tensor
    """int32 [S+1]: where the rows of each sequence begin, and the end."""
    context_lens: Tensor
    """int32 [S]: keys of each sequence, the rows of this step included."""
    max_q: int
    """At least the rows of any one sequence."""
    max_context: int
    """At least the keys of any one sequence, at most B * block_size."""
    num_decodes: int
    """The first so many sequences have one row each."""
    first_row: int | None = None
    """Of a batch of one sequence whose blocks follow each other, the slot of its first key, where known; `max_context`
    is exact then. Spares a CPU from reading the tables in every layer."""
