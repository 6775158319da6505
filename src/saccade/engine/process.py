"""The engine process: what `python -m saccade.engine.process` runs. Requests come in through a pipe and tokens go out
through another; it ends with the process that started it. See supervisor.py for the other side.

    reader thread    pipe --> requests --> the worker's inbox         main thread    load, then step: tokens --> pipe

Knows no text, no HTTP and no settings: all it is told is a spec, its first message.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import logging
import logging.config
import os
import signal
import sys
import threading
from queue import SimpleQueue

from saccade import logs
from saccade.engine.arena import Arena
from saccade.engine.pulse import Pulse
from saccade.engine.spec import EngineSpec
from saccade.engine.wire import Inlet, Outlet, pack_outs, read_messages, unpack_request
from saccade.engine.worker import Worker
from saccade.errors import EngineError, SaccadeError
from saccade.types import EngineStats, TokenOut

logger = logging.getLogger("saccade.engine")


class _Server:
    """The engine process, seen from inside."""

    def __init__(self, requests: int, answers: int, memory: int) -> None:
        """Open files: an end of a pipe to read, an end of another to write, and the arena's."""
        for fd in (requests, answers, memory):
            os.set_inheritable(fd, False)
        self._arena = Arena(memory)
        self._out = Outlet(answers)
        self._specs: SimpleQueue[EngineSpec] = SimpleQueue()
        self._worker: Worker | None = None
        self._with_pixels: set[str] = set()
        """Open requests whose pixels lie in the arena."""
        self._on_gpu = False
        threading.Thread(target=self._read, args=(requests,), name="saccade-reader", daemon=True).start()

    def run(self) -> None:
        """Load, then serve until the engine breaks down."""
        spec = self._specs.get()
        logging.config.dictConfig(logs.config(spec.log_format, "info", "engine process"))
        try:
            self._worker = self._load(spec)
        except SaccadeError as error:
            self._out.send(("failed", error))
        except Exception as error:
            logger.critical("The model could not be loaded.", exc_info=error)
            self._out.send(("failed", EngineError(f"The model could not be loaded: {type(error).__name__}: {error}")))
        else:
            facts = self._worker.facts()
            pulse = Pulse(self._arena.pulse, spec.options.step_timeout, facts.device_type)
            gc.freeze()  # what is here stays; to look at all of it in a collection would be a pause of every stream
            self._out.send(("loaded", facts))
            self._worker.run(self._emit, lambda _: None, self._note, pulse)

    def _load(self, spec: EngineSpec) -> Worker:
        import torch

        from saccade.engine.build import build, resolve_device

        device = resolve_device(spec.device)
        if device.type != "cuda":
            return Worker(*build(spec, self._tell))
        self._on_gpu = True
        torch.cuda.set_device(device)
        pinning = threading.Thread(target=self._pin, args=(device.index or 0,), name="saccade-pin")
        pinning.start()
        try:
            return Worker(*build(spec, self._tell))
        finally:
            pinning.join()

    def _tell(self, stage: str, fraction: float | None) -> None:
        self._out.send(("progress", (stage, fraction)))

    def _pin(self, device: int) -> None:
        """Make the arena memory that the GPU reads by itself while the host goes on."""
        import torch

        torch.cuda.set_device(device)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._arena.memory))
        code = int(torch.cuda.cudart().cudaHostRegister(address, len(self._arena.memory), 0))  # type: ignore[no-untyped-call]
        if code:
            logger.warning("Pixels are copied to the GPU slowly: their memory cannot be pinned (CUDA error %d).", code)

    def _read(self, fd: int) -> None:
        """What the gateway says; when it is gone, or has closed its end, there is nobody to go on for."""
        code = 1
        try:
            for messages in read_messages(Inlet(fd)):
                for message in messages:
                    self._take(message)
            code = 0
        except Exception as error:
            logger.critical("What the gateway said could not be taken in.", exc_info=error)
        finally:
            os._exit(code)

    def _take(self, message: object) -> None:
        if isinstance(message, EngineSpec):
            self._specs.put(message)
            return
        assert self._worker, "requests come once the model is loaded"
        if isinstance(message, str):
            self._worker.abort(message)
            return
        assert isinstance(message, tuple)
        if message[0] == "profile":
            self._worker.profile(message[1], message[2], lambda error: self._out.send(("profiled", error)))
            return
        if message[0] == "end_profile":
            self._worker.end_profile()
            return
        request = unpack_request(message[0], message[1], self._arena)
        if request.pictures:
            self._with_pixels.add(request.id)
        self._worker.submit(request)

    def _emit(self, outs: list[TokenOut]) -> None:
        """Called after every step."""
        if not outs:
            return
        for out in outs:
            if out.finish_reason and out.request_id in self._with_pixels:
                self._with_pixels.remove(out.request_id)
                if self._on_gpu and out.finish_reason in ("abort", "error"):
                    # It may have ended before the GPU has read its pixels, whose memory is given to others now.
                    import torch

                    torch.cuda.synchronize()
        self._out.send(("outs", pack_outs(outs)))

    def _note(self, stats: EngineStats) -> None:
        self._out.send(("stats", stats))


def main() -> None:
    """The process: its arguments are three open files, see `_Server`."""
    # Ctrl-C and the SIGTERM of a service manager reach a whole group of processes, but requests are answered to their
    # end first; then the gateway closes the pipe.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)  # where every thread is, once the gateway thinks that nothing goes on
    logging.config.dictConfig(logs.config("text", "info", "engine process"))
    _Server(*map(int, sys.argv[1:])).run()
    logging.shutdown()
    os._exit(1)


if __name__ == "__main__":
    main()
