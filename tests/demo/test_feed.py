"""Workers hand whole batches over, in memory that is used again and again; slots always come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saccade.demo import feed as room
from saccade.demo.feed import EMPTY, FULL, TAKEN, Feed
from saccade.demo.pack import Budget

BUDGET = Budget(patches=1400, second=64, tokens=1200, segments=256, answers=64)


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Feed:
    monkeypatch.setattr(room, "KEPT", 4)
    made = Feed(seed=1, budget=BUDGET, workers=2, slots=2)
    yield made
    made.close()


def test_batches_come_whole_and_their_slots_go_back(feed: Feed) -> None:
    feed.attach(torch.device("cpu"))
    seen, blocks = [], set()
    while feed.cursor != 3 or len(seen) < 9:
        loaded = feed.next()
        if loaded.uses > 1:
            continue
        vision, text, _, _, supervised, patches, tokens, _, *longest = loaded.counts
        bounds = loaded.tensors["vision_bounds"]
        assert loaded.vision.bounds.tolist() == bounds[: vision + 1].tolist()
        assert bounds[0] == 0
        assert bounds[vision] == BUDGET.patches
        assert loaded.text.bounds.diff().tolist() == loaded.text.lengths
        assert (
            longest
            == [max(loaded.vision.lengths), max(loaded.text.lengths)]
            == [
                loaded.vision.longest,
                loaded.text.longest,
            ]
        )
        assert (loaded.tensors["weights"] > 0).sum() == supervised
        assert 0 < patches <= BUDGET.patches
        assert 0 < tokens <= BUDGET.tokens
        assert text == len(loaded.text.lengths)
        seen.append(loaded.tensors["rows"].clone())
        blocks.add(loaded.block.data_ptr())
        assert TAKEN not in feed.state
        if len(seen) > 40:
            break
    assert len(blocks) <= 5
    assert len({bytes(np.asarray(rows)) for rows in seen}) == len(seen)
    assert set(feed.state.tolist()) <= {EMPTY, FULL}


def test_a_dead_worker_is_told(feed: Feed) -> None:
    feed.attach(torch.device("cpu"))
    for worker in feed.workers:
        worker.terminate()
        worker.join()
    feed.state[:] = EMPTY
    with pytest.raises(RuntimeError, match="died"):
        feed.next()


def test_workers_leave_two_cores_to_the_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    cores = room.spare_cores(14)
    assert len(cores) == 14
    assert 0 not in cores
    assert room.spare_cores(15) == set()
