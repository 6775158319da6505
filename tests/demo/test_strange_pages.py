"""What the bundled model makes of pages that its own generator did not draw, asked over HTTP."""

from __future__ import annotations

import strange

import outside
from saccade.demo.score import edit_distance

SEED, COUNT = 8_000, 12
QUESTIONS = ("Read the text.", "What does it say?", "Transcribe this image.")


def test_plain_pages_are_read() -> None:
    """At most one character in a hundred is wrong, added or missing; line ends count as characters."""
    wrong = total = 0
    told = []
    with outside.serving("--model", "demo") as server:
        for number in range(COUNT):
            page = strange.page(SEED + number)
            question = QUESTIONS[number % len(QUESTIONS)]
            answer = server.chat(outside.image(outside.png(page.pixels)), question, max_tokens=400)
            read, expected = answer.json()["choices"][0]["message"]["content"], "\n".join(page.lines)
            errors = edit_distance(read, expected)
            wrong, total = wrong + errors, total + len(expected)
            if errors:
                told.append(f"{page.about}: {read!r} is not {expected!r}")
    assert total > 500
    assert wrong <= total / 100, told
