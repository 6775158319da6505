"""Samples and questions become answers, greedily, through the media, text and engine rooms; no server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from saccade.demo.world.sample import Sample
from saccade.engine.core import Engine
from saccade.engine.footprint import tokens_per_block
from saccade.engine.memory import block_bytes
from saccade.engine.options import EngineOptions
from saccade.engine.request import EngineRequest
from saccade.media.limits import MediaLimits
from saccade.media.pixels import Plans, prepare
from saccade.model.weights import load
from saccade.text.prompt import PromptBuilder
from saccade.text.tokenizer import Detokenizer
from saccade.types import Frames, MediaPart, MediaRef, Message, Picture, SamplingParams, TextPart

CONTEXT = 4096
"""Tokens of a question with its picture, at most some 700, and the answer."""


class Answerer:
    """A loaded checkpoint that answers up to `in_flight` questions at once."""

    def __init__(
        self,
        directory: Path,
        *,
        device: str = "cpu",
        dtype: str = "auto",
        max_tokens: int = 1500,
        in_flight: int = 1,
    ) -> None:
        self.prompts = PromptBuilder.from_dir(directory)
        self.plans = Plans.from_dir(directory, MediaLimits())
        model = load(directory, dtype=dtype, device=torch.device(device))
        size = tokens_per_block(is_gpu=model.device.type == "cuda")
        options = EngineOptions(
            max_context=CONTEXT,
            max_running=in_flight,
            # No more than is needed: several processes may share a GPU.
            kv_cache_bytes=(1 + in_flight * -(-CONTEXT // size)) * block_bytes(model, size),
            feature_cache_bytes=256 * 2**20,
        )
        self.engine = Engine(model, stop_ids=(256, 258), options=options)
        self.max_tokens = max_tokens

    def answer(self, sample: Sample, question: str) -> str:
        """The whole answer to `question` about the sample's picture or video."""
        return self.answers([(sample, question)])[0]

    def answers(self, questions: Sequence[tuple[Sample, str]]) -> list[str]:
        """The whole answers in the questions' order. RuntimeError: the engine could not answer one."""
        sampling = SamplingParams(temperature=0.0, max_tokens=self.max_tokens)
        texts = [Detokenizer(self.prompts.tokenizer, ()) for _ in questions]
        out = [""] * len(questions)
        for number, (sample, question) in enumerate(questions):
            pictures = self.pictures(sample)
            media = tuple(MediaPart(MediaRef(p.kind, "sample", data=b"")) for p in pictures)
            prompt = self.prompts.build((Message("user", (*media, TextPart(question))),), pictures)
            self.engine.submit(EngineRequest(str(number), prompt, pictures, sampling))
        while self.engine.has_work:
            for token in self.engine.step():
                if token.error:
                    raise RuntimeError(token.error)
                if token.token is not None:
                    out[int(token.request_id)] += texts[int(token.request_id)].push(token.token)
        return [start + text.finish() for start, text in zip(out, texts, strict=True)]

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
