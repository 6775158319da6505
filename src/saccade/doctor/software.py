"""Checks of what is installed and of the GPU."""

from __future__ import annotations

from saccade.doctor.findings import Finding, ok, problem, serve_command, warning
from saccade.doctor.machine import CODECS, Machine
from saccade.errors import SaccadeError
from saccade.model.size import dtype_on

OLDEST_PYTHON = (3, 11)
OLDEST_GPU = (7, 0)
"""Compute capability that Triton needs."""
OLDEST_BFLOAT16 = (8, 0)
PIP = "pip install"


def python(machine: Machine) -> Finding:
    """The interpreter is new enough."""
    version = ".".join(map(str, machine.python))
    if machine.python[:2] < OLDEST_PYTHON:
        return problem("python", f"Python {version} is too old: 3.11 is needed.", "make PYTHON=python3.12 run")
    return ok("python", f"Python {version}")


def packages(machine: Machine) -> Finding:
    """All that the package needs is installed."""
    if missing := machine.missing_packages:
        return problem("packages", f"Not installed: {', '.join(missing)}.", f"{PIP} {' '.join(missing)}")
    return ok("packages", "all installed")


def torch(machine: Machine) -> Finding:
    """It loads."""
    found = machine.torch
    if isinstance(found, str):
        return problem("torch", f"PyTorch does not load: {found}.", f"{PIP} --force-reinstall torch")
    return ok("torch", f"PyTorch {found.version}, {f'CUDA {found.cuda}' if found.cuda else 'for CPUs only'}")


def gpu(machine: Machine) -> Finding:
    """The device of the settings is there and can be used; a GPU that lies idle is told."""
    wanted, found = machine.settings.device, machine.torch
    if isinstance(found, str):
        return problem("gpu", "No GPU can be used without PyTorch.", f"{PIP} --force-reinstall torch")
    if wanted == "cpu":
        return ok("gpu", "not used, as asked")
    if found.gpus:
        names = "; ".join(f"{card.name}, {card.memory.free / 1e9:,.1f} GB free" for card in found.gpus)
        if machine.gpu is None:
            text = f"There is no {wanted}: the GPUs are numbered from 0 to {len(found.gpus) - 1} ({names})."
            return problem("gpu", text, serve_command(machine.settings, device="cuda:0"))
        return _usable(machine, names)
    tell = warning if wanted == "auto" else problem
    on_cpu = serve_command(machine.settings, device="cpu")
    if machine.driver is None:
        if wanted == "auto":
            return ok("gpu", "none, the CPU is used")
        return problem("gpu", f"There is no {wanted}: no NVIDIA driver is loaded.", on_cpu)
    driver = f"A GPU with driver {machine.driver} is there, but"
    if found.cuda is None:
        return tell("gpu", f"{driver} this PyTorch is for CPUs only.", f"{PIP} --force-reinstall torch")
    if found.driver_cuda and _release(found.driver_cuda) < _release(found.cuda):
        index = f"--index-url https://download.pytorch.org/whl/cu{found.driver_cuda.replace('.', '')}"
        text = f"{driver} it knows CUDA {found.driver_cuda}, and this PyTorch needs {found.cuda}."
        return tell("gpu", text, f"{PIP} --force-reinstall torch {index}")
    return tell("gpu", f"{driver} PyTorch cannot use it.", "nvidia-smi")


def _usable(machine: Machine, names: str) -> Finding:
    card, found = machine.gpu, machine.torch
    assert card is not None
    assert not isinstance(found, str)
    name = f"sm_{card.capability[0]}{card.capability[1]}"
    majors = {arch.removeprefix("sm_").rstrip("abcdef")[:-1] for arch in found.architectures if arch.startswith("sm_")}
    if card.capability < OLDEST_GPU:
        text = f"{card.name} ({name}) is too old for the kernels, which need sm_70."
        return problem("gpu", text, serve_command(machine.settings, device="cpu"))
    forward = any(arch.startswith("compute_") for arch in found.architectures)  # code that a newer GPU compiles itself
    if majors and not forward and str(card.capability[0]) not in majors:
        text = f"This PyTorch has no code for {card.name} ({name}), only for {', '.join(found.architectures)}."
        return problem("gpu", text, f"{PIP} --force-reinstall torch")
    return ok("gpu", names)


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def dtype(machine: Machine) -> Finding:
    """The device computes in the type of the settings, and well."""
    config = machine.config
    device = "cuda" if machine.gpu else "cpu"
    if isinstance(config, SaccadeError):
        return warning("dtype", "unknown until config.json can be read", None)
    chosen = dtype_on(device, machine.settings.dtype, config)
    if machine.gpu and chosen == "bfloat16" and machine.gpu.capability < OLDEST_BFLOAT16:
        text = f"{machine.gpu.name} does not compute in bfloat16, which needs sm_80."
        return problem("dtype", text, serve_command(machine.settings, dtype="float16"))
    if device == "cpu" and chosen != "float32":
        text = f"{chosen} on a CPU takes half the memory of float32 and is slower."
        return warning("dtype", text, serve_command(machine.settings, dtype="auto"))
    return ok("dtype", chosen)


def kernels(machine: Machine) -> Finding:
    """Which are chosen and why."""
    found = machine.kernels
    if isinstance(found, SaccadeError):
        return problem("kernels", found.message, f"{PIP} --force-reinstall triton")
    return ok("kernels", found)


def compiler(machine: Machine) -> Finding:
    """Triton launches its kernels through a small C program that it compiles here."""
    if machine.gpu is None or not machine.settings.fused_kernels:
        return ok("compiler", "not used")
    if machine.compiler is None:
        return problem("compiler", "Triton needs a C compiler.", "sudo apt-get install gcc libc6-dev")
    if not machine.has_headers:
        major, minor, _ = machine.python
        text = "Triton needs the C headers of this Python."
        return problem("compiler", text, f"sudo apt-get install python{major}.{minor}-dev")
    return ok("compiler", machine.compiler)


def fonts(machine: Machine) -> Finding:
    """The pictures of the demo world are drawn with fonts of the package; a server needs none."""
    if machine.num_fonts == 0:
        text = "The fonts of the demo world are missing; `saccade demo` cannot draw."
        return warning("fonts", text, f"{PIP} --force-reinstall --no-deps saccade")
    return ok("fonts", f"{machine.num_fonts} for the demo world")


def video(machine: Machine) -> Finding:
    """FFmpeg is there and knows the usual codecs."""
    found = machine.video
    if found.version is None:
        return problem("video", "PyAV does not load, so no video can be read.", f"{PIP} --force-reinstall av")
    if found.missing:
        text = f"FFmpeg (libavcodec {found.version}) cannot decode {', '.join(found.missing)}."
        return warning("video", text, f"{PIP} --force-reinstall --only-binary :all: av")
    return ok("video", f"FFmpeg (libavcodec {found.version}) decodes {', '.join(CODECS)}")
