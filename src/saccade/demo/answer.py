"""A sample and a question become an answer, greedily, through the media, text and engine rooms; no server."""

from __future__ import annotations

from pathlib import Path

import torch

from saccade.demo.world.sample import Sample
from saccade.engine.core import Engine
from saccade.engine.request import EngineRequest
from saccade.media.fetch import MediaLimits
from saccade.media.pixels import Plans, prepare
from saccade.model.weights import load
from saccade.text.prompt import PromptBuilder
from saccade.text.tokenizer import Detokenizer
from saccade.types import Frames, MediaPart, MediaRef, Message, Picture, SamplingParams, TextPart


class Answerer:
    """A loaded checkpoint that answers one question at a time."""

    def __init__(self, directory: Path, *, device: str = "cpu", dtype: str = "float32", max_tokens: int = 1500) -> None:
        self.prompts = PromptBuilder.from_dir(directory)
        self.plans = Plans.from_dir(directory, MediaLimits())
        model = load(directory, dtype=dtype, device=torch.device(device))
        self.engine = Engine(model, stop_ids=(256, 258), max_context=8192)
        self.max_tokens = max_tokens

    def answer(self, sample: Sample, question: str) -> str:
        """The whole answer to `question` about the sample's picture or video."""
        pictures = self.pictures(sample)
        media = tuple(MediaPart(MediaRef(p.kind, "sample", data=b"")) for p in pictures)
        message = Message("user", (*media, TextPart(question)))
        prompt = self.prompts.build((message,), pictures)
        sampling = SamplingParams(temperature=0.0, max_tokens=self.max_tokens)
        self.engine.submit(EngineRequest("eval", prompt, pictures, sampling))
        text = Detokenizer(self.prompts.tokenizer, ())
        out = []
        while self.engine.has_work:
            for token in self.engine.step():
                if token.error:
                    raise RuntimeError(token.error)
                if token.token is not None:
                    out.append(text.push(token.token))
        return "".join(out) + text.finish()

    def pictures(self, sample: Sample) -> tuple[Picture, ...]:
        """The sample's frames as the media room would hand them on."""
        if not len(sample.frames):
            return ()
        still = len(sample.frames) == 1
        frames = Frames(
            kind="image" if still else "video",
            pixels=tuple(sample.frames),
            size=sample.frames.shape[1:3],
            indices=tuple(range(len(sample.frames))),
            fps=0.0 if still else 2 / (sample.timestamps[1] - sample.timestamps[0]),
            digest="sample",
        )
        return (prepare(frames, self.plans.image if still else self.plans.video),)
