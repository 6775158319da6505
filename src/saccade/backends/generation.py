"""generation_config.json of a checkpoint becomes stop ids and sampling defaults, for what a request leaves open."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from saccade.errors import CheckpointError, RequestError
from saccade.types import SamplingParams

FILE = "generation_config.json"


@dataclass(frozen=True, slots=True)
class GenerationDefaults:
    """How a checkpoint wants to be sampled where the request does not say."""

    stop_ids: tuple[int, ...] = ()
    """Empty: the file names none."""
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    @classmethod
    def from_dir(cls, directory: Path) -> GenerationDefaults:
        """Read the file; neutral values where it, or a key, is absent. CheckpointError names a value that is odd.

        `do_sample: false` is temperature 0, and then top_k, top_p and min_p mean nothing.
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
        eos = config.get("eos_token_id")
        stop_ids = tuple(eos) if isinstance(eos, list) else () if eos is None else (eos,)
        if any(type(id) is not int for id in stop_ids):
            raise CheckpointError(f"{path}: eos_token_id is {eos!r}, not an id or a list of ids.", param="eos_token_id")
        penalty = _number(path, config, "repetition_penalty", 1.0, 0.1, 10.0)
        if config.get("do_sample") is False:
            return cls(stop_ids, temperature=0.0, repetition_penalty=penalty)
        return cls(
            stop_ids,
            temperature=_number(path, config, "temperature", 1.0, 0.0, 1e9),
            top_k=int(_number(path, config, "top_k", 0, 0, 1e9)),
            top_p=_number(path, config, "top_p", 1.0, 0.0, 1.0),
            min_p=_number(path, config, "min_p", 0.0, 0.0, 1.0),
            repetition_penalty=penalty,
        )

    def fill(self, sampling: SamplingParams) -> SamplingParams:
        """`sampling` with nothing left open."""
        names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
        return replace(sampling, **{name: getattr(self, name) for name in names if getattr(sampling, name) is None})


def check_ids(sampling: SamplingParams, num_ids: int) -> None:
    """Raise RequestError for a bias of an id that the model does not have."""
    for id, _ in sampling.logit_bias:
        if id >= num_ids:
            raise RequestError(
                f"'logit_bias' names token {id}; the ids of this model end at {num_ids - 1}.",
                param=f"logit_bias.{id}",
                code="invalid_value",
            )


def _number(path: Path, config: dict[str, Any], key: str, default: float, low: float, high: float) -> float:
    value = config.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise CheckpointError(f"{path}: {key} is {value!r}, not a number from {low:g} to {high:g}.", param=key)
    return value
