"""A real video file through the command: what the bundled model says of it has the form of a time."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import strange

import outside


@pytest.mark.parametrize(("event", "rate"), [("appear", 30), ("change its color", 12)])
def test_when_something_happens(event: str, rate: int, tmp_path: Path) -> None:
    clip = strange.clip(np.random.default_rng(5), event, rate)
    file = tmp_path / "clip.mp4"
    file.write_bytes(clip.data)
    done = outside.run("ask", "--json", file, clip.question, "--temperature", "0")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["usage"]["video_tokens"] > 0
    found = re.fullmatch(r"At (\d+\.\d) seconds\.", told["answer"])
    assert found, told["answer"]
    assert 0 <= float(found[1]) <= clip.seconds
