"""A sample and a question become an answer, greedily, through the media, text and engine rooms; no server."""

from __future__ import annotations

from pathlib import Path

import torch

from saccade.demo.world.sample import Sample
from saccade.engine.core import Engine, EngineRequest
from saccade.media.pixels import ImagePlan, VideoPlan, prepare
from saccade.model.weights import load
from saccade.text.prompt import PromptBuilder
from saccade.text.tokenizer import Detokenizer, Tokenizer
from saccade.types import Frames, MediaPart, MediaRef, Message, Picture, SamplingParams, TextPart

SAMPLE_FPS = 2.0
"""Frames of a video sample are half a second apart."""


class Answerer:
    """A loaded checkpoint that answers one question at a time."""

    def __init__(self, directory: Path, *, device: str = "cpu", dtype: str = "float32", max_tokens: int = 1500) -> None:
        self.tokenizer = Tokenizer.from_dir(directory)
        self.prompts = PromptBuilder.from_dir(directory)
        self.image_plan = ImagePlan.from_dir(directory)
        self.video_plan = VideoPlan.from_dir(directory)
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
        text = Detokenizer(self.tokenizer, ())
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
        if len(sample.frames) == 1:
            return (prepare(Frames("image", tuple(sample.frames), (0,), 0.0, "sample"), self.image_plan),)
        frames = Frames("video", tuple(sample.frames), tuple(range(len(sample.frames))), SAMPLE_FPS, "sample")
        return (prepare(frames, self.video_plan),)
