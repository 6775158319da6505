"""generation_config.json of a checkpoint becomes stop ids and sampling defaults; knows no request."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from saccade.errors import CheckpointError
from saccade.types import SamplingParams

FILE = "generation_config.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GenerationDefaults:
    """How a checkpoint wants to be sampled where the request does not say."""

    stop_ids: tuple[int, ...] = ()
    """Empty: the file names none."""
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    @classmethod
    def from_dir(cls, directory: Path) -> GenerationDefaults:
        """Read the file; neutral values where it, or a key, is absent. CheckpointError names a value that is odd.

        `do_sample: false` is temperature 0, and then top_k and top_p mean nothing.
        """
        path = directory / FILE
        if not path.is_file():
            return cls()
        try:
            config = json.loads(path.read_bytes())
            if not isinstance(config, dict):
                raise ValueError("not an object")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}.", hint="Download it again.") from None
        if config.get("repetition_penalty") not in (None, 1, 1.0):
            logger.warning("%s asks for a repetition_penalty, which is not applied.", path)
        eos = config.get("eos_token_id")
        stop_ids = tuple(eos) if isinstance(eos, list) else () if eos is None else (eos,)
        if any(type(id) is not int for id in stop_ids):
            raise CheckpointError(f"{path}: eos_token_id is {eos!r}, not an id or a list of ids.", param="eos_token_id")
        if config.get("do_sample") is False:
            return cls(stop_ids, temperature=0.0)
        temperature = _number(path, config, "temperature", 1.0, 0.0, 1e9)
        top_k = _number(path, config, "top_k", 0, 0, 1e9)
        return cls(stop_ids, temperature, int(top_k), _number(path, config, "top_p", 1.0, 0.0, 1.0))

    def fill(self, sampling: SamplingParams) -> SamplingParams:
        """`sampling` with nothing left open."""
        return replace(
            sampling,
            temperature=self.temperature if sampling.temperature is None else sampling.temperature,
            top_k=self.top_k if sampling.top_k is None else sampling.top_k,
            top_p=self.top_p if sampling.top_p is None else sampling.top_p,
        )


def _number(path: Path, config: dict[str, Any], key: str, default: float, low: float, high: float) -> float:
    value = config.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise CheckpointError(f"{path}: {key} is {value!r}, not a number from {low:g} to {high:g}.", param=key)
    return value
