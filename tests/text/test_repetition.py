"""What goes round in circles is seen, however it is cut, and what does not is left alone."""

from __future__ import annotations

import random
import time

import pytest

from saccade.text.repetition import RepetitionGuard

BOX = '{"bbox_2d": [1, 2, 3, 4], "label": "cup"}'


def trips(text: str, times: int, *, cut: int = 1) -> int | None:
    """How many characters were read when it tripped."""
    guard = RepetitionGuard(times)
    for at in range(0, len(text), cut):
        if guard.push(text[at : at + cut]):
            return at + cut
    return None


@pytest.mark.parametrize("times", [2, 3, 10])
@pytest.mark.parametrize(
    "piece",
    [
        "a line\n",
        f"\t{BOX},\n",
        "[1, 2, 3, 4], ",
        "<box>(1,2),(3,4)</box>",
        "one\ntwo\nthree\n",
        "[1, 2], [3, 4],\n[5, 6], ",
    ],
)
def test_repetitions_trip_at_their_end(piece: str, times: int) -> None:
    text = "First something else.\n" + piece * times
    found = trips(text + piece, times)
    assert found is not None
    assert len(text) - len(piece) < found <= len(text) + len(piece.split("\n")[0]) + 2
    assert trips("First something else.\n" + piece * (times - 1) + "The end.\n", times) is None


@pytest.mark.parametrize(
    "text",
    [
        "\n" * 50,
        "| --- | --- |\n" * 50,
        "}\n" * 50 + "]" * 50,
        "".join(f"[{n}, {n + 1}], " for n in range(100)),
        "".join(f'{{"label": "cup", "bbox_2d": [{n}, 2, 3, 4]}},\n' for n in range(100)),
    ],
)
def test_what_is_no_repetition_is_left_alone(text: str) -> None:
    assert trips(text, 3) is None


def test_how_it_is_cut_does_not_matter() -> None:
    rng = random.Random(0)
    for _ in range(200):
        text = "".join(rng.choice("ab],\n") for _ in range(300))
        found = [trips(text, 4, cut=cut) for cut in (1, 2, 300)]
        assert (found[0] is None) == (found[1] is None) == (found[2] is None)


def test_a_cycle_longer_than_it_looks_at_is_not_seen() -> None:
    assert trips("".join(f"line {n % 17}\n" for n in range(200)), 3) is None
    assert trips("".join(f"line {n % 16}\n" for n in range(200)), 3) is not None


def test_the_cost_grows_with_the_text_alone() -> None:
    def cost(length: int) -> float:
        guard, began = RepetitionGuard(3), time.process_time()
        for _ in range(length):
            guard.push("word ")
        return time.process_time() - began

    cost(1000)
    assert cost(40_000) < 10 * cost(10_000) + 0.05
