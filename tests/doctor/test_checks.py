"""Each check by itself, on facts that are made up."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

import tiny
from saccade import cli
from saccade.doctor import checks, serving, software
from saccade.doctor.findings import Finding, serve_command
from saccade.doctor.machine import Gpu, Machine, Model, Place, Torch, Video
from saccade.engine.footprint import DeviceMemory
from saccade.errors import CheckpointError, SaccadeError
from saccade.model.config import ModelConfig
from saccade.settings import Settings, load

GB = 10**9
CARD = Gpu("Card", (9, 0), DeviceMemory(23 * GB, 24 * GB, is_gpu=True))
CUDA = Torch("2.11", "13.0", "13.0", ("sm_75", "sm_90"), (CARD,))
CPU = Torch("2.11+cpu", None)
BIG = {"text_config": {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "vocab_size": 151936}}


def machine(settings: dict[str, Any] | None = None, **facts: Any) -> Machine:
    """A machine of a good kind, with some facts otherwise."""
    made = Machine(Settings(**(settings or {})))
    good = {
        "python": (3, 11, 7),
        "missing_packages": (),
        "torch": CUDA,
        "driver": "580.1",
        "compiler": "/usr/bin/gcc",
        "has_headers": True,
        "kernels": "Triton and cuBLAS on cuda",
        "main_memory": DeviceMemory(20 * GB, 32 * GB, is_gpu=False),
        "model": Model(Path("/models/x")),
        "hub_name": None,
        "broken_files": {},
        "config": ModelConfig.from_dict(tiny.config()),
        "checkpoint_error": None,
        "port_error": None,
        "free_port": 8003,
        "model_cache": Place(Path("/cache"), 100 * GB, True),
        "kernel_cache": Place(Path("/kernels"), 100 * GB, True),
        "temporary": Place(Path("/tmp"), 100 * GB, True),
        "num_fonts": 100,
        "video": Video("62.1", ()),
        "proxies": {},
        "descriptors": (65536, 65536),
        "shared_memory": None,
    }
    assert facts.keys() <= good.keys()
    for name, value in (good | facts).items():
        setattr(made, name, value)
    return made


def big(memory_gb: float, **settings: Any) -> Machine:
    """A model of 12.9 GB on a GPU of that size, 1 GB of which is not free."""
    raw = tiny.config(
        text=BIG["text_config"]
        | {"num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 262144},
        vision={"out_hidden_size": 4096},
        top={"dtype": "bfloat16"},
    )
    card = Gpu("Card", (9, 0), DeviceMemory(int((memory_gb - 1) * GB), int(memory_gb * GB), is_gpu=True))
    return machine(settings, torch=Torch("2.11", "13.0", "13.0", (), (card,)), config=ModelConfig.from_dict(raw))


def test_a_good_machine_has_no_findings() -> None:
    found = checks.examine(machine())
    assert [finding for finding in found if finding.level != "ok"] == []
    assert len({finding.check for finding in found}) == len(checks.CHECKS)


CPU_ONLY = {"torch": CPU}
BAD: list[tuple[Any, dict[str, Any], dict[str, Any], str, str, str | None]] = [
    (software.python, {}, {"python": (3, 10, 2)}, "problem", "3.11 is needed", "make PYTHON=python3.12 run"),
    (software.packages, {}, {"missing_packages": ("av", "jinja2")}, "problem", "av, jinja2", "pip install av jinja2"),
    (software.torch, {}, {"torch": "no libcudart"}, "problem", "no libcudart", "pip install --force-reinstall torch"),
    (software.gpu, {}, {"torch": "no libcudart"}, "problem", "without PyTorch", "pip install --force-reinstall torch"),
    (software.gpu, {}, CPU_ONLY, "warning", "is for CPUs only", "pip install --force-reinstall torch"),
    (software.gpu, {"device": "cuda"}, CPU_ONLY, "problem", "is for CPUs only", "pip install --force-reinstall torch"),
    (
        software.gpu,
        {"device": "cuda"},
        {**CPU_ONLY, "driver": None},
        "problem",
        "no NVIDIA driver",
        "saccade serve --device cpu",
    ),
    (software.gpu, {"device": "cuda:1"}, {}, "problem", "There is no cuda:1", "saccade serve --device cuda:0"),
    (
        software.gpu,
        {},
        {"torch": Torch("2.11", "13.0", "12.8")},
        "warning",
        "it knows CUDA 12.8, and this PyTorch needs 13.0",
        "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu128",
    ),
    (software.gpu, {}, {"torch": Torch("2.11", "12.8", "13.0")}, "warning", "cannot use it", "nvidia-smi"),
    (
        software.gpu,
        {},
        {"torch": Torch("2", "13.0", "13.0", (), (Gpu("Old", (6, 1), CARD.memory),))},
        "problem",
        "Old (sm_61) is too old",
        "saccade serve --device cpu",
    ),
    (
        software.gpu,
        {},
        {"torch": Torch("2", "12.8", "13.0", ("sm_80", "sm_90a"), (Gpu("New", (12, 0), CARD.memory),))},
        "problem",
        "no code for New (sm_120)",
        "pip install --force-reinstall torch",
    ),
    (software.compiler, {}, {"compiler": None}, "problem", "C compiler", "sudo apt-get install gcc libc6-dev"),
    (software.compiler, {}, {"has_headers": False}, "problem", "headers", "sudo apt-get install python3.11-dev"),
    (
        software.kernels,
        {},
        {"kernels": SaccadeError("No Triton.")},
        "problem",
        "No Triton.",
        "pip install --force-reinstall triton",
    ),
    (
        software.dtype,
        {"dtype": "bfloat16"},
        {"torch": Torch("2", "12.8", "13.0", (), (Gpu("T4", (7, 5), CARD.memory),))},
        "problem",
        "T4 does not compute in bfloat16",
        "saccade serve --dtype float16",
    ),
    (software.dtype, {"dtype": "float16"}, CPU_ONLY, "warning", "is slower", "saccade serve"),
    (software.fonts, {}, {"num_fonts": 0}, "warning", "missing", "pip install --force-reinstall --no-deps saccade"),
    (software.video, {}, {"video": Video(None)}, "problem", "PyAV does not load", "pip install --force-reinstall av"),
    (
        software.video,
        {},
        {"video": Video("1", ("av1",))},
        "warning",
        "cannot decode av1",
        "pip install --force-reinstall --only-binary :all: av",
    ),
    (
        serving.model,
        {"model": "a/b"},
        {"model": Model(error=CheckpointError("No."), is_hub_name=True)},
        "warning",
        "serve would fetch it first",
        "saccade pull a/b",
    ),
    (
        serving.model,
        {"model": "a/b", "offline": True},
        {"model": Model(error=CheckpointError("No."), is_hub_name=True)},
        "problem",
        "--offline forbids",
        "saccade pull a/b",
    ),
    (serving.model, {}, {"model": Model(error=CheckpointError("No.", hint="Do."))}, "problem", "No.", "Do."),
    (
        serving.model,
        {"model": "/models/x"},
        {"checkpoint_error": CheckpointError("Odd.")},
        "problem",
        "Odd.",
        "Copy these",
    ),
    (
        serving.model,
        {"model": "/models/x"},
        {"broken_files": {name: f"{name} is absent." for name in "abcde"}},
        "problem",
        "/models/x is incomplete. a is absent. b is absent. c is absent. 2 more files",
        "Copy these files to /models/x again",
    ),
    (
        serving.model,
        {"model": "/m"},
        {"broken_files": {"a": "a"}, "hub_name": "o/m"},
        "problem",
        "incomplete",
        "saccade pull o/m",
    ),
    (
        serving.port,
        {},
        {"port_error": SaccadeError("Taken.", param="port")},
        "problem",
        "Taken.",
        "saccade serve --port 8003",
    ),
    (serving.port, {}, {"port_error": SaccadeError("Odd.", param="host", hint="Do.")}, "problem", "Odd.", "Do."),
    (
        serving.disk,
        {"model": "a/b"},
        {"model": Model(is_hub_name=True), "model_cache": Place(Path("/c"), GB, True)},
        "warning",
        "1.00 GB free in /c",
        "export HF_HOME=",
    ),
    (
        serving.disk,
        {"model": "a/b"},
        {"model": Model(is_hub_name=True), "model_cache": Place(Path("/c"), GB, False)},
        "problem",
        "/c cannot be written to",
        "sudo chown -R $USER /c",
    ),
    (
        serving.caches,
        {},
        {"kernel_cache": Place(Path("/k"), GB, False)},
        "problem",
        "/k cannot",
        "export TRITON_CACHE_DIR=/tmp/triton",
    ),
    (
        serving.proxies,
        {},
        {"proxies": {"http_proxy": "x"}},
        "warning",
        "http_proxy set",
        "export NO_PROXY=127.0.0.1,localhost",
    ),
    (serving.descriptors, {}, {"descriptors": (1024, 4096)}, "warning", "1,024 files", "ulimit -n 1536"),
    (
        serving.descriptors,
        {},
        {"descriptors": (1024, 1024)},
        "warning",
        "1,536",
        "sudo prlimit --pid $$ --nofile=1536:1536",
    ),
    (
        serving.shared_memory,
        {},
        {"main_memory": DeviceMemory(GB, GB, is_gpu=False)},
        "warning",
        "1.00 GB of main",
        "ps ",
    ),
    (
        serving.shared_memory,
        {},
        {"shared_memory": 0, "temporary": Place(Path("/t"), 0, False)},
        "problem",
        "/t cannot be written to",
        "export TMPDIR=/var/tmp",
    ),
    (serving.memory, {"max_context": 9999}, {}, "problem", "knows 4096 positions", "saccade serve --max-context 4096"),
    (serving.memory, {}, {"config": CheckpointError("No.")}, "warning", "unknown", None),
]


@pytest.mark.parametrize(
    ("check", "settings", "facts", "level", "said", "mend"), BAD, ids=lambda value: getattr(value, "__name__", "")
)
def test_what_is_wrong_is_told_with_what_mends_it(
    check: Any, settings: dict[str, Any], facts: dict[str, Any], level: str, said: str, mend: str | None
) -> None:
    found = check(machine(settings, **facts))
    assert found.level == level
    assert said in found.text
    assert (found.mend or "").startswith(mend or "")
    assert (found.mend is None) == (mend is None)
    _commands_parse(found)


def _commands_parse(found: Finding) -> None:
    """A mend that calls saccade is a command line that it understands."""
    words = shlex.split(found.mend or "")
    if words[:1] == ["saccade"]:
        command: Any = typer.main.get_command(cli.app)
        command.commands[words[1]].make_context("saccade", words[2:]).close()


@pytest.mark.parametrize(
    ("gb", "settings", "level", "mend"),
    [
        (80, {}, "ok", None),
        (20, {}, "ok", None),
        (20, {"max_context": 100_000}, "warning", "saccade serve --max-context "),
        (17.8, {}, "problem", "saccade serve --feature-cache-memory 67108864"),
        (12, {}, "problem", "saccade estimate Qwen/Qwen3-VL-2B-Instruct --gpu 10490MiB"),
    ],
)
def test_memory_of_a_gpu(gb: float, settings: dict[str, Any], level: str, mend: str | None) -> None:
    found = serving.memory(big(gb, **settings))
    assert (found.level, found.mend is None) == (level, mend is None)
    assert (found.mend or "").startswith(mend or "")
    _commands_parse(found)
    if level == "problem":
        assert found.text.startswith("The model does not fit: weights in bfloat16 ")


def test_what_the_command_proposes_about_memory_would_fit() -> None:
    made = big(17.8)
    words = shlex.split(serving.memory(made).mend or "")
    assert words[2::2] == ["--feature-cache-memory"]
    again = big(17.8, feature_cache_memory=int(words[3]))
    assert serving.memory(again).level == "ok"
    narrow = serving.memory(big(20, max_context=100_000))
    context = int(shlex.split(narrow.mend or "")[-1])
    assert serving.memory(big(20, max_context=context)).level == "ok"


def test_memory_that_another_program_holds() -> None:
    made = big(24)
    card = Gpu("Card", (9, 0), DeviceMemory(4 * GB, 24 * GB, is_gpu=True))
    made.torch = Torch("2.11", "13.0", "13.0", (), (card,))
    assert serving.memory(made).mend == "nvidia-smi"


def test_a_cpu_has_no_gpu_to_check() -> None:
    made = machine({"device": "cpu"}, compiler=None)
    assert made.gpu is None
    assert software.gpu(made).text == "not used, as asked"
    assert {check(made).level for check in (software.gpu, software.compiler, serving.caches)} == {"ok"}


@pytest.mark.parametrize("spared", ["localhost,127.0.0.1", "*", " 127.0.0.1 , localhost , x"])
def test_a_proxy_that_spares_this_machine(spared: str) -> None:
    found = serving.proxies(machine(proxies={"https_proxy": "http://me:secret@proxy", "no_proxy": spared}))
    assert found.level == "ok"
    assert "secret" not in found.text


def test_the_command_to_serve_holds_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_API_KEY", "s3cret-s3cret-s3cret")
    settings = load({"model": "a b", "max_context": "5"})
    assert serve_command(settings, port=7) == "saccade serve --model 'a b' --max-context 5 --port 7"


def test_the_quick_checks_raise_what_the_doctor_tells(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SaccadeError, match="incomplete") as caught:
        checks.before_serving(Settings(model=str(tmp_path)), tmp_path)
    told = serving.files(machine({"model": str(tmp_path)}, model=Model(tmp_path), broken_files=broken_in(tmp_path)))
    assert (caught.value.message, caught.value.hint) == (told.text, f"Mend it: {told.mend}")


def broken_in(directory: Path) -> dict[str, str]:
    made = Machine(Settings(model=str(directory)))
    made.model = Model(directory)
    return made.broken_files


def test_code_for_gpus_to_come_is_enough() -> None:
    card = Gpu("New", (12, 0), CARD.memory)
    assert software.gpu(machine(torch=Torch("2", "12.8", "13.0", ("sm_90", "compute_90"), (card,)))).level == "ok"


@pytest.mark.gpu
def test_on_a_gpu_as_it_is() -> None:
    real = Machine(Settings(device="cuda", port=0))
    if real.gpu is None:
        pytest.skip("no CUDA device")
    assert real.driver is not None
    levels = {check.__name__: check(real).level for check in checks.CHECKS if check.__module__ == software.__name__}
    assert "problem" not in levels.values(), levels
    assert serving.memory(real).level == "ok"
