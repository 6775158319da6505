"""Facts about this machine and what it is asked to serve, each looked up when a check first wants it; no judgement."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import socket
import sys
import sysconfig
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path

from saccade.engine.footprint import DeviceMemory
from saccade.engine.host import main_memory
from saccade.errors import CheckpointError, SaccadeError
from saccade.model.config import ModelConfig
from saccade.model.headers import broken_files, read_json
from saccade.settings import Settings, outside_variables

DRIVER = Path("/proc/driver/nvidia/version")
CODECS = ("h264", "hevc", "mpeg4", "vp8", "vp9", "av1")
"""What videos come in."""
NEEDED = ("config.json", "tokenizer.json")
"""Files of a checkpoint beside its weights and its chat template."""
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One that torch can use."""

    name: str
    capability: tuple[int, int]
    memory: DeviceMemory


@dataclass(frozen=True, slots=True)
class Torch:
    """What torch says of itself."""

    version: str
    cuda: str | None
    """Release of CUDA it was built with; None for a build without."""
    driver_cuda: str | None = None
    """Newest release of CUDA that the driver knows."""
    architectures: tuple[str, ...] = ()
    """It has code for, such as "sm_90"."""
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """What was found under the name of the model."""

    directory: Path | None = None
    error: CheckpointError | None = None
    """Why there is no directory."""
    is_hub_name: bool = False
    """The model is a name on the hub, not a directory."""


@dataclass(frozen=True, slots=True)
class Place:
    """A directory that is written to."""

    path: Path
    free: int
    """Bytes on its disk."""
    writable: bool


@dataclass(frozen=True, slots=True)
class Video:
    """The library that decodes videos."""

    version: str | None
    """Of FFmpeg's libavcodec; None where the library does not load."""
    missing: tuple[str, ...] = field(default=())


class Machine:
    """The facts. A test makes one and sets those that it wants otherwise."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def python(self) -> tuple[int, int, int]:
        return sys.version_info[:3]

    @cached_property
    def missing_packages(self) -> tuple[str, ...]:
        """Packages that saccade needs and that are not installed."""
        missing = []
        for requirement in requires("saccade") or ():
            name = re.split(r"[^\w.-]", requirement)[0]
            if "extra ==" in requirement or ("sys_platform" in requirement and sys.platform == "win32"):
                continue
            try:
                distribution(name)
            except PackageNotFoundError:
                missing.append(name)
        return tuple(missing)

    @cached_property
    def torch(self) -> Torch | str:
        """A sentence where it does not load."""
        try:
            import torch
        except (ImportError, OSError) as error:  # OSError: one of its libraries is broken
            return str(error).splitlines()[0] if str(error) else type(error).__name__
        gpus = []
        for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            memory = DeviceMemory(*torch.cuda.mem_get_info(index), is_gpu=True)
            gpus.append(Gpu(torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index), memory))
        number = torch._C._cuda_getDriverVersion() if torch.version.cuda else 0  # type: ignore[attr-defined]
        return Torch(
            version=torch.__version__,
            cuda=torch.version.cuda,
            driver_cuda=f"{number // 1000}.{number % 1000 // 10}" if number else None,
            architectures=tuple(torch.cuda.get_arch_list()),
            gpus=tuple(gpus),
        )

    @cached_property
    def driver(self) -> str | None:
        """Version of NVIDIA's driver, without asking it."""
        found = re.search(r"\b\d+\.\d+(\.\d+)?\b", DRIVER.read_text()) if DRIVER.is_file() else None
        return found.group() if found else None

    @cached_property
    def gpu(self) -> Gpu | None:
        """The one that the settings choose; None for the CPU, and where there is none of that number."""
        wanted = self.settings.device
        if wanted == "cpu" or isinstance(self.torch, str):
            return None
        index = int(wanted.partition(":")[2] or 0)
        return self.torch.gpus[index] if index < len(self.torch.gpus) else None

    @cached_property
    def kernels(self) -> str | SaccadeError:
        """Which kernels are chosen and why, or why none can be."""
        from saccade.kernels import explain, select

        try:
            return explain(select("cuda" if self.gpu else "cpu", fused=self.settings.fused_kernels))
        except ImportError as error:
            return SaccadeError(f"Triton does not load: {error}.")

    @cached_property
    def compiler(self) -> str | None:
        """The C compiler that Triton would use."""
        return outside_variables("CC").get("CC") or shutil.which("gcc") or shutil.which("clang")

    @cached_property
    def has_headers(self) -> bool:
        """Whether a C program can include Python.h."""
        scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")
        return (Path(sysconfig.get_paths(scheme)["include"]) / "Python.h").is_file()

    @cached_property
    def main_memory(self) -> DeviceMemory:
        return main_memory()

    @cached_property
    def model(self) -> Model:
        """Looked for on this machine only."""
        from saccade.hub import is_hub_name, resolve

        weights = self.settings.load_format != "dummy"
        name = self.settings.model
        try:
            found = resolve(name, offline=True, source=self.settings.source, weights=weights)
            return Model(found, is_hub_name=is_hub_name(name))
        except CheckpointError as error:
            return Model(error=error, is_hub_name=is_hub_name(name))

    @cached_property
    def hub_name(self) -> str | None:
        """Where the model could be fetched again."""
        from saccade.hub import is_hub_name, name_on_hub

        name = self.settings.model
        if is_hub_name(name):
            return name
        return name_on_hub(self.model.directory) if self.model.directory else None

    @cached_property
    def broken_files(self) -> dict[str, str]:
        """What is wrong with each file of the checkpoint that is absent or cut short."""
        directory = self.model.directory
        if directory is None:
            return {}
        broken = {name: f"{name} is absent." for name in NEEDED if not (directory / name).is_file()}
        if self.settings.load_format != "dummy":
            errors = broken_files(directory)
            broken |= {name: error.message.replace(f"{directory}/", "") for name, error in errors.items()}
        return broken

    @cached_property
    def config(self) -> ModelConfig | SaccadeError:
        if self.model.directory is None:
            return self.model.error or SaccadeError("There is no model.")
        try:
            return ModelConfig.from_dict(read_json(self.model.directory / "config.json"))
        except CheckpointError as error:
            return error

    @cached_property
    def checkpoint_error(self) -> CheckpointError | None:
        """What would stop a load before the first number of a weight is read."""
        from saccade.backends.generation import GenerationDefaults
        from saccade.media.limits import MediaLimits
        from saccade.media.pixels import Plans
        from saccade.model.weights import check
        from saccade.text.prompt import PromptBuilder

        directory = self.model.directory
        assert directory is not None
        try:
            GenerationDefaults.from_dir(directory)
            Plans.from_dir(directory, MediaLimits())
            PromptBuilder.from_dir(directory)
            if self.settings.load_format != "dummy" and not isinstance(self.torch, str):
                check(directory)
        except CheckpointError as error:
            return error
        return None

    @cached_property
    def port_error(self) -> SaccadeError | None:
        """Why the address cannot be had, or may not."""
        from saccade.server.keys import load_keys
        from saccade.server.run import bind

        settings = self.settings
        secret = settings.api_key.get_secret_value() if settings.api_key else None
        try:
            keys = load_keys(secret, settings.api_key_file)
            bind(settings.host, settings.port, public=bool(keys) or settings.insecure).close()
        except SaccadeError as error:
            return error
        return None

    @cached_property
    def free_port(self) -> int:
        """One that the address has: among the next ones, or any."""
        for port in (*range(self.settings.port + 1, min(self.settings.port + 20, 65536)), 0):
            with socket.socket() as listener:
                try:
                    listener.bind((self.settings.host, port))
                except OSError:
                    continue
                return int(listener.getsockname()[1])
        return 8000

    @cached_property
    def model_cache(self) -> Place:
        """Where models from the hub are kept."""
        from saccade.hub import cache_directory

        return place(cache_directory(self.settings.source))

    @cached_property
    def kernel_cache(self) -> Place:
        """Where Triton keeps what it has compiled."""
        given = outside_variables("TRITON_CACHE_DIR", "TRITON_HOME")
        home = Path(given.get("TRITON_HOME") or Path.home()) / ".triton" / "cache"
        return place(Path(given.get("TRITON_CACHE_DIR") or home))

    @cached_property
    def temporary(self) -> Place:
        return place(Path(tempfile.gettempdir()))

    @cached_property
    def num_fonts(self) -> int:
        return len(list((Path(__file__).parents[1] / "demo" / "fonts").glob("*.ttf")))

    @cached_property
    def video(self) -> Video:
        try:
            import av
        except (ImportError, OSError):
            return Video(None)
        missing = []
        for name in CODECS:
            try:
                av.Codec(name, "r")
            except ValueError:  # av.codec.codec.UnknownCodecError
                missing.append(name)
        return Video(".".join(map(str, av.library_versions["libavcodec"])), tuple(missing))

    @cached_property
    def proxies(self) -> dict[str, str]:
        """Variables that send HTTP through a proxy, by their names in small letters."""
        names = [*PROXIES, *map(str.upper, PROXIES)]
        return {name.lower(): value for name, value in outside_variables(*names).items()}

    @cached_property
    def descriptors(self) -> tuple[int, int]:
        """(limit, what it may be raised to) of open files and connections."""
        return resource.getrlimit(resource.RLIMIT_NOFILE)

    @cached_property
    def shared_memory(self) -> int | None:
        """Bytes of /dev/shm; None where pictures do not need it."""
        if hasattr(os, "memfd_create"):
            return None
        return shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else 0

    @cached_property
    def description(self) -> dict[str, str]:
        """For reports."""
        return {"python": platform.python_version(), "system": platform.platform()}


def place(path: Path) -> Place:
    """A directory, or the nearest one above it that exists."""
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        free = shutil.disk_usage(there).free
    except OSError:
        free = 0
    return Place(path, free, os.access(there, os.W_OK | os.X_OK))
