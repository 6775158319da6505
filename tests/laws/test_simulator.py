"""A million steps of scheduler and ledgers under a seeded crowd, with every law checked on the way."""

from __future__ import annotations

import pytest
from simulator import Simulation

EPISODE = 1000


@pytest.mark.slow
def test_a_million_steps(pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]) -> None:
    """Blocks and pins balance, nobody sees another's tokens, each request ends exactly once and with the answer it
    gets alone, nothing is left at the end. A longer run: `--sim-steps 20000000`; one episode again: `--sim-seed N
    --sim-steps 1`."""
    wanted, first = pytestconfig.getoption("--sim-steps"), pytestconfig.getoption("--sim-seed")
    steps = finished = 0
    seed = first
    seen: dict[str, int] = {}
    while steps < wanted:
        simulation = Simulation(seed)
        try:
            simulation.run(EPISODE)
        except Exception as error:
            raise AssertionError(f"simulator seed {seed}, step {simulation.steps}: {error!r}") from error
        steps += simulation.steps
        finished += simulation.finished
        for what, times in simulation.seen.items():
            seen[what] = seen.get(what, 0) + times
        seed += 1
    with capsys.disabled():
        print(f"\nsimulator: seeds {first}..{seed - 1}, {steps} steps, {finished} requests finished, {seen}")
    if wanted >= 100_000:  # a crowd that never gets into trouble proves nothing
        trouble = ("abort", "error", "feature hit", "feature wait", "hit", "length", "oversized", "preempted")
        assert all(seen.get(what, 0) > 100 for what in (*trouble, "promotion", "refused", "slice", "stop"))


def test_a_seed_tells_everything() -> None:
    """The same seed gives the same run, so that a failure can be looked at again."""
    one, two = Simulation(5), Simulation(5)
    one.run(200)
    two.run(200)
    assert (one.steps, one.seen, one.device.num_rows) == (two.steps, two.seen, two.device.num_rows)
    assert [c.got for c in one.callers.values()] == [c.got for c in two.callers.values()]
