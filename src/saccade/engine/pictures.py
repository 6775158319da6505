"""Slices of vision work become features on the device, and features move between it and host memory, as a plan says;
knows keys and pixels, no policy and no text.

On a CUDA device the tower has a stream of its own: a step that shows no picture of its own slices runs beside them, its
products where theirs leave room. Who reads features waits for them then, and tells the allocator that it reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from saccade.engine.plan import EncodeSlice, EncodeUnit, FeatureRows, Move
from saccade.engine.request import EngineRequest
from saccade.engine.staging import Staging
from saccade.engine.tower import SmallTower
from saccade.model.qwen3vl import Qwen3VL
from saccade.model.vision import Encoding


class Pictures:
    """The features that there are, and jobs between two slices."""

    def __init__(self, model: Qwen3VL, staging: Staging, requests: Mapping[str, EngineRequest]) -> None:
        """`requests`: where the pixels are, by request."""
        self._model = model
        self._staging = staging
        self._requests = requests
        self._features: dict[bytes, Tensor] = {}
        """[1+L, tokens, E] of each unit, on the device."""
        self._host_features: dict[bytes, Tensor] = {}
        """The same in host memory."""
        self._jobs: dict[int, Encoding] = {}
        """Between two slices."""
        self.stream = torch.cuda.Stream(model.device) if model.device.type == "cuda" else None  # type: ignore[no-untyped-call]
        """Where slices run; None: with everything else."""
        self.small: SmallTower | None = None
        """For what fits in it, where steps are captured."""
        self._fresh: dict[bytes, Any] = {}
        """Features that nobody has waited for, and the mark behind their last slice."""
        self._levels, self._width = 1 + len(model.visual.deepstack_mergers), model.config.text.hidden_size

    @torch.inference_mode()
    def capture(self) -> None:
        """Small pictures go through captured passes from now on; a CUDA device with fused kernels is needed."""
        self.small = SmallTower(self._model.visual, stream=self.stream)

    def move(self, move: Move) -> Exception | None:
        """Obey a move. Without memory for it the features are gone, and who reads them will not find them; what was
        raised then. Raises torch.AcceleratorError when the device is lost."""
        source, target = self._features, self._host_features
        if move.kind in ("promote", "drop_host"):
            source, target = target, source
        features = source.pop(move.key, None)
        if features is None:
            return None
        if source is self._features:
            self._wait(move.key, features)
        try:
            if move.kind == "demote":
                pinned = torch.empty(features.shape, dtype=features.dtype, pin_memory=features.is_cuda)
                target[move.key] = pinned.copy_(features, non_blocking=True)
            elif move.kind == "promote":
                target[move.key] = features.to(self._model.device, non_blocking=True)
        except torch.AcceleratorError:
            raise
        except Exception as error:
            return error
        return None

    def cancel(self, job: int) -> None:
        """Nobody waits for a job any more."""
        self._jobs.pop(job, None)

    def beside(self) -> AbstractContextManager[Any]:
        """Within it the current stream is that of the slices."""
        return torch.cuda.stream(self.stream) if self.stream else nullcontext()

    def encode(self, part: EncodeSlice, failures: dict[int, Exception]) -> None:
        """One slice of a job, within `beside`. What goes wrong ends the job and is kept in `failures`."""
        tower = self._model.visual
        try:
            if part.first == 0:
                pixels = [self._pixels(unit) for unit in part.units]
                sizes = [self._requests[unit.id].pictures[unit.picture].grid for unit in part.units]
                grids = [(1, height, width) for _, height, width in sizes]
                stills = all(len(frames) == 1 for frames in pixels)
                if self.small and part.last == len(tower.blocks) and stills and self.small.fits(grids):
                    self._keep(part.units, self.small(pixels, grids))
                    return
                self._jobs[part.job] = tower.begin(pixels, grids)
            encoding = self._jobs.get(part.job)
            if encoding is None:  # it failed in an earlier step
                return
            tower.encode_slice(encoding, part.last)
            if part.last == len(tower.blocks):
                del self._jobs[part.job]
                self._keep(part.units, tower.finish(encoding))
        except torch.AcceleratorError:
            raise
        except Exception as error:
            self._jobs.pop(part.job, None)
            failures[part.job] = error

    def has(self, key: bytes) -> bool:
        """Whether features are on the device."""
        return key in self._features

    def shown(self, rows: Sequence[FeatureRows]) -> list[Tensor]:
        """Features [1+L, length, E] of each run of rows that show a picture; zeros for those that are not here."""
        parts = []
        for key, _, offset, length in rows:
            features = self._features.get(key)
            if features is None:
                features = torch.zeros(1, 1, 1, dtype=self._model.dtype, device=self._model.device)
                parts.append(features.expand(self._levels, length, self._width))
            else:
                self._wait(key, features)
                parts.append(features[:, offset : offset + length])
        return parts

    def blank(self, tokens: int) -> Tensor:
        """Features [1+L, tokens, E] of nothing."""
        return torch.zeros(self._levels, tokens, self._width, dtype=self._model.dtype, device=self._model.device)

    def _pixels(self, unit: EncodeUnit) -> Tensor:
        """uint8 [1 or 2, H, W, 3] of a still or a temporal patch, on the device."""
        picture = self._requests[unit.id].pictures[unit.picture]
        frames = picture.pixels if len(picture.pixels) == 1 else picture.pixels[2 * unit.patch : 2 * unit.patch + 2]
        return self._staging.pixels(frames, self._model.device)

    def _keep(self, units: tuple[EncodeUnit, ...], features: Tensor) -> None:
        """features [1+L, M, E] of all units, one after the other, each in memory of its own."""
        parts = torch.split(features, [unit.num_patches // 4 for unit in units], dim=1)
        for unit, part in zip(units, parts, strict=True):
            self._features[unit.key] = part.contiguous()
        if self.stream:
            self._fresh |= dict.fromkeys((unit.key for unit in units), self.stream.record_event())

    def _wait(self, key: bytes, features: Tensor) -> None:
        """The current stream reads these features next."""
        if self.stream is None:
            return
        current = torch.cuda.current_stream(features.device)
        if mark := self._fresh.pop(key, None):
            current.wait_event(mark)
        features.record_stream(current)
