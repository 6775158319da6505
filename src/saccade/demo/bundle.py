"""Where the bundled checkpoint lies inside the installed package."""

from __future__ import annotations

from pathlib import Path


def directory() -> Path:
    """The bundled checkpoint directory in the Hugging Face layout."""
    return Path(__file__).parent / "checkpoint"


def companions() -> list[Path]:
    """Its files beside the weights: configuration, tokenizer, template, processors."""
    suffixes = (".json", ".jinja")
    return sorted(p for p in directory().iterdir() if p.suffix in suffixes and p.name != "train.json")
