"""Checks of what is to be served: the checkpoint, the memory for it, the port, and what the system allows."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any

from saccade.doctor.findings import Finding, ok, problem, serve_command, warning
from saccade.doctor.machine import Machine
from saccade.engine.footprint import CUDA_CONTEXT, DeviceMemory, before_load, gigabytes
from saccade.engine.options import MAX_RUNNING
from saccade.errors import SaccadeError, SettingsError
from saccade.flags import engine_options
from saccade.model.config import ModelConfig
from saccade.model.size import dtype_on

SPARE_DISK = 5e9
"""Bytes of disk under which a model that is still to be fetched may not fit."""
SPARE_DESCRIPTORS = 256
"""Files that a server has open beside its connections."""
MAIN_MEMORY = 4e9
"""Bytes that gateway and engine take beside a model on a GPU, a gigabyte of pictures on their way included."""
SMALLEST = "Qwen/Qwen3-VL-2B-Instruct"
"""The smallest of the released models."""
UNKNOWN = "unknown until config.json can be read"
CONCESSIONS: tuple[dict[str, Any], ...] = (
    {"feature_cache_memory": 64 * 2**20},
    {"gpu_memory_utilization": 0.95},
    {"cuda_graphs": False},
    {"dtype": "bfloat16"},
)
"""What gives memory back, the cheapest first."""


def model(machine: Machine) -> Finding:
    """It is on this machine with every file, whole, and with the tensors that its config.json asks for."""
    found, settings = machine.model, machine.settings
    if found.directory is None:
        assert found.error is not None
        if not found.is_hub_name:
            return problem("model", found.error.message, found.error.hint)
        text, pull = f"{settings.model} is not on this machine, or not completely", _pull(settings.model)
        if settings.offline:
            return problem("model", f"{text}, and --offline forbids to fetch it.", pull)
        return warning("model", f"{text}; serve would fetch it first.", pull)
    if machine.broken_files:
        return files(machine)
    if error := machine.checkpoint_error:
        return problem("model", error.message, error.hint or _fetch_again(machine, ()))
    return ok("model", f"{found.directory}: complete")


def files(machine: Machine) -> Finding:
    """Every file of the checkpoint is there and as long as it should be. Quick: nothing but headers is read."""
    directory, broken = machine.model.directory, machine.broken_files
    if not broken:
        return ok("model", f"{directory}: all files are there")
    said = list(broken.values())
    more = f" {len(said) - 3} more files are broken or absent." if len(said) > 3 else ""
    text = f"The checkpoint {directory} is incomplete. {' '.join(said[:3])}{more}"
    return problem("model", text, _fetch_again(machine, broken))


def _fetch_again(machine: Machine, names: Iterable[str]) -> str:
    """The command that brings back what is broken, or what to do where nobody knows where it came from."""
    directory = machine.model.directory
    assert directory is not None
    if machine.settings.model == "demo":
        return "pip install --force-reinstall --no-deps saccade"
    if machine.hub_name is None:
        return f"Copy these files to {directory} again from where they came from."
    there = [str(directory / name) for name in names if (directory / name).exists()]
    return f"rm {shlex.join(there)} && {_pull(machine.hub_name)}" if there else _pull(machine.hub_name)


def _pull(name: str) -> str:
    return shlex.join(["saccade", "pull", name])


def memory(machine: Machine) -> Finding:
    """Weights, keys and values, features and the largest step fit on the device."""
    config, settings = machine.config, machine.settings
    if isinstance(config, SaccadeError):
        return warning("memory", UNKNOWN, None)
    most = config.text.max_position_embeddings
    if settings.max_context is not None and settings.max_context > most:
        text = f"max_context is {settings.max_context}; this model knows {most} positions."
        return problem("memory", text, serve_command(settings, max_context=most))
    device = machine.gpu.memory if machine.gpu else machine.main_memory
    try:
        plan = before_load(config, _dtype(machine, config), device, engine_options(settings))
    except SettingsError as error:
        return problem("memory", error.message, _make_room(machine, config, device))
    tokens = plan.num_tokens
    wanted = settings.max_context or most
    if settings.max_context is not None and tokens < wanted:
        text = f"Keys and values of {tokens:,} tokens fit, and max_context is {wanted:,}."
        return warning("memory", text, serve_command(settings, max_context=tokens))
    parts = [f"weights {gigabytes(plan.weights)}", f"features of pictures {gigabytes(plan.features)}"]
    if machine.gpu:
        parts.insert(1, f"largest step {gigabytes(plan.activations)}")
    kind = "GPU" if machine.gpu else "main"
    text = f"{', '.join(parts)}, keys and values {gigabytes(plan.kv)} for {tokens:,} tokens; {kind} memory"
    return ok("memory", f"{text} {gigabytes(device.free)} free of {gigabytes(device.total)}")


def _dtype(machine: Machine, config: ModelConfig) -> str:
    return dtype_on("cuda" if machine.gpu else "cpu", machine.settings.dtype, config)


def _make_room(machine: Machine, config: ModelConfig, device: DeviceMemory) -> str:
    """The first command with which the model would fit."""
    settings = machine.settings
    changes: dict[str, Any] = {}
    for concession in CONCESSIONS:
        if concession.get("gpu_memory_utilization", 1) <= settings.gpu_memory_utilization:
            continue
        changes |= concession
        changed = settings.model_copy(update=changes)
        dtype = dtype_on("cuda" if machine.gpu else "cpu", changed.dtype, config)
        if fits(config, dtype, device, changed):
            return serve_command(settings, **changes)
    whole = DeviceMemory(device.total - CUDA_CONTEXT, device.total, device.is_gpu)
    if fits(config, _dtype(machine, config), whole, settings):
        return "nvidia-smi" if device.is_gpu else "ps -eo pid,rss,args --sort=-rss | head"
    size = f"{'--gpu' if device.is_gpu else '--cpu'} {int(device.free / 2**20)}MiB"
    return f"saccade estimate {SMALLEST} {size}"


def fits(config: ModelConfig, dtype: str, device: DeviceMemory, settings: Any) -> bool:
    """Whether a model could be loaded."""
    try:
        before_load(config, dtype, device, engine_options(settings))
    except SettingsError:
        return False
    return True


def port(machine: Machine) -> Finding:
    """The address can be had."""
    settings, error = machine.settings, machine.port_error
    if error is None:
        return ok("port", f"{settings.host}:{settings.port} is free" if settings.port else "any free one")
    mend = serve_command(settings, port=machine.free_port) if error.param == "port" else error.hint
    return problem("port", error.message, mend)


def disk(machine: Machine) -> Finding:
    """There is room for a model that is still to be fetched, and it may be written."""
    place, found = machine.model_cache, machine.model
    text = f"{gigabytes(place.free)} free in {place.path}"
    if found.directory is not None or not found.is_hub_name:
        return ok("disk", f"{text}; nothing is to be fetched")
    if not place.writable:
        return problem(
            "disk", f"{place.path} cannot be written to.", f"sudo chown -R $USER {shlex.quote(str(place.path))}"
        )
    if place.free < SPARE_DISK:
        return warning("disk", f"{text}; {machine.settings.model} may need more.", "export HF_HOME=/a/larger/disk")
    return ok("disk", text)


def caches(machine: Machine) -> Finding:
    """What is compiled for a GPU can be kept for the next start."""
    place = machine.kernel_cache
    if machine.gpu is None:
        return ok("kernel cache", "not used without a GPU")
    if not place.writable:
        return problem("kernel cache", f"{place.path} cannot be written to.", "export TRITON_CACHE_DIR=/tmp/triton")
    return ok("kernel cache", f"{place.path}, {gigabytes(place.free)} free")


def proxies(machine: Machine) -> Finding:
    """A proxy for the whole world is no proxy for this machine."""
    found = machine.proxies
    names = [name for name in ("http_proxy", "https_proxy", "all_proxy") if name in found]
    spared = {part.strip() for part in found.get("no_proxy", "").split(",")}
    if names and "*" not in spared and not {"127.0.0.1", "localhost"} <= spared:
        text = f"{', '.join(names)} set: clients on this machine would ask the proxy for 127.0.0.1."
        return warning("proxies", text, "export NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost")
    return ok("proxies", f"{', '.join(names)} set, not for this machine" if names else "none")


def descriptors(machine: Machine) -> Finding:
    """Enough connections can be open at the same time."""
    settings, (limit, hard) = machine.settings, machine.descriptors
    running = settings.max_running or MAX_RUNNING["cuda" if machine.gpu else "cpu"]
    needed = settings.max_waiting + running + SPARE_DESCRIPTORS
    if 0 <= limit < needed:
        text = f"{limit:,} files and connections may be open; a full queue needs {needed:,}."
        enough = hard < 0 or hard >= needed
        mend = f"ulimit -n {needed}" if enough else f"sudo prlimit --pid $$ --nofile={needed}:{needed}"
        return warning("descriptors", text, mend)
    return ok("descriptors", f"{limit:,} may be open" if limit >= 0 else "without limit")


def shared_memory(machine: Machine) -> Finding:
    """Pictures get from gateway to engine."""
    size, main = machine.shared_memory, machine.main_memory.free
    if size is not None and not machine.temporary.writable:
        return problem("shared memory", f"{machine.temporary.path} cannot be written to.", "export TMPDIR=/var/tmp")
    if main < MAIN_MEMORY:
        text = f"{gigabytes(main)} of main memory is free; {gigabytes(MAIN_MEMORY)} leave room for pictures."
        return warning("shared memory", text, "ps -eo pid,rss,args --sort=-rss | head")
    return ok(
        "shared memory", "files without a name; /dev/shm is not used" if size is None else "a file without a name"
    )
