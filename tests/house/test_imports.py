"""Who may import whom, as tables. An import counts wherever it stands: inside functions and under TYPE_CHECKING too."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"

FLOORS = {
    "errors": 1,
    "kernels": 1,
    "types": 2,
    "settings": 2,
    "logs": 2,
    "model": 2,
    "cache": 3,
    "media": 3,
    "text": 3,
    "engine": 4,
    "backends": 5,
    "hub": 5,
    "video": 6,
    "terminal": 6,
    "server": 7,
    "webui": 7,
    "bench": 7,
    "ask": 7,
    "demo": 7,
    "estimate": 7,
    "flags": 7,
    "doctor": 8,
    "commands": 9,
    "cli": 10,
    "__main__": 11,
}
"""A room imports itself and lower floors; `errors` and `types`, the common words, are open to all but the ground."""

NEVER = (
    ("kernels", "saccade"),
    ("types", "saccade"),
    ("errors", "saccade"),
    ("media", "saccade.model"),
    ("text", "saccade.model"),
    ("text", "torch"),
    ("engine", "saccade.text"),
    ("engine", "saccade.media"),
    ("engine.scheduler", "torch"),
    ("engine.encoder", "torch"),
    ("engine.plan", "torch"),
    ("engine.state", "torch"),
    ("cache", "torch"),
    ("server", "saccade.engine"),
    ("server", "saccade.model"),
    ("server", "saccade.text"),
    ("server", "saccade.media"),
    ("webui", "saccade.server"),
    ("bench", "saccade.backends"),
    ("bench", "saccade.engine"),
    ("bench", "saccade.media"),
    ("bench", "saccade.model"),
    ("bench", "saccade.text"),
    ("webui", "saccade.engine"),
)
"""(room or file, what it must not import although its floor would let it)."""

HOMES = {
    "numpy": ("types", "media", "text", "model", "engine", "backends", "demo", "bench.pictures"),
    "torch": ("kernels", "model", "engine", "media.pixels", "backends.native", "demo", "doctor.machine"),
    "triton": ("kernels",),
    "safetensors": ("model", "demo"),
    "tokenizers": ("text.tokenizer",),
    "jinja2": ("text.template",),
    "PIL": ("media.stills", "demo.world", "bench.pictures"),
    "av": ("media.video", "doctor.machine"),
    "pypdfium2": ("media.documents",),
    "simplejpeg": ("media.stills",),
    "llguidance": ("engine.grammar",),
    "blake3": ("media",),
    "pybase64": ("media.fetch",),
    "h11": ("media.remote",),
    "huggingface_hub": ("hub",),
    "modelscope": ("hub",),
    "pydantic": ("settings", "server"),
    "pydantic_core": ("server.validate",),
    "pydantic_settings": ("settings",),
    "fastapi": ("server", "webui.gradio_host"),
    "gradio": ("webui.gradio_host",),
    "opentelemetry": ("server.tracing",),
    "starlette": ("server",),
    "uvicorn": ("server",),
    "httptools": ("server",),
    "prometheus_client": ("server.metrics",),
    "typer": ("cli", "commands", "flags"),
    "click": ("cli",),
    "rich": ("cli", "terminal", "demo", "bench.show"),
    "matplotlib": ("bench.plots",),
    "socket": ("media.remote", "server.run", "cli", "doctor.machine"),
    "ssl": ("media.remote",),
    "http.client": (),
    "urllib.request": (),
}
"""Where each package may be imported: what is not listed, nowhere. The last rows are the standard library's sockets."""

TRAINING = {"torch", "numpy", "safetensors", "PIL", "triton"}
"""What a machine that trains the demo model has to have; triton only where its kernels are chosen."""


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    paths = sorted((SRC / "saccade").rglob("*.py"))
    return {".".join(p.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"): p for p in paths}


MODULES = modules()


def imports(name: str, path: Path) -> Iterator[str]:
    """The dotted names of what a file imports; of `from a import b`, the module that b is or else comes from."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            whole = [f"{base}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES or name in HOMES else base for name in whole)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


def within(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


IMPORTS = {name: sorted(set(imports(name, path))) for name, path in MODULES.items()}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_room_has_a_floor() -> None:
    assert {room(name) for name in MODULES} - {""} <= FLOORS.keys()
    assert not IMPORTS["saccade"]


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"saccade"}))
def test_imports_go_down(module: str) -> None:
    for target in IMPORTS[module]:
        other = room(target) if within(target, "saccade") else ""
        if other and other not in (room(module), "types", "errors"):
            assert FLOORS[other] < FLOORS[room(module)], f"{module} imports {target}"


def test_nevers() -> None:
    broken = [
        f"{module} imports {target}"
        for place, forbidden in NEVER
        for module in MODULES
        for target in IMPORTS[module]
        if within(module, f"saccade.{place}") and within(target, forbidden) and not within(target, f"saccade.{place}")
    ]
    assert not broken


def test_packages_stay_in_their_homes() -> None:
    broken = []
    for module, targets in IMPORTS.items():
        for target in targets:
            rule = next((package for package in HOMES if within(target, package)), None)
            if rule is None:
                known = target.split(".")[0] in (*sys.stdlib_module_names, "saccade")
            else:
                known = any(within(module, f"saccade.{home}") for home in HOMES[rule])
            if not known:
                broken.append(f"{module} imports {target}")
    assert not broken


def test_no_circles() -> None:
    for module in MODULES:
        assert module not in reach(*ours(module)), f"{module} imports itself in the end"


def ours(module: str) -> list[str]:
    """The modules of ours that a file imports by name (a package counts as its face)."""
    return [target for target in IMPORTS[module] if target in MODULES]


def reach(*start: str) -> set[str]:
    seen: set[str] = set()
    rest = list(start)
    while rest:
        module = rest.pop()
        if module not in seen:
            seen.add(module)
            rest += ours(module)
    return seen


def test_training_needs_few_packages() -> None:
    roots = [m for m in MODULES if within(m, "saccade.model") or within(m, "saccade.kernels")]
    for module in reach("saccade.demo.train", *roots, *(m for m in MODULES if within(m, "saccade.demo.world"))):
        foreign = {target.split(".")[0] for target in IMPORTS[module]} - sys.stdlib_module_names - {"saccade"}
        assert foreign <= TRAINING, module


def test_the_environment_is_read_in_one_place() -> None:
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    for module, path in MODULES.items():
        if module == "saccade.settings":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            used = {node.attr} if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os" else set()
            if isinstance(node, ast.ImportFrom) and node.module == "os":
                used = {alias.name for alias in node.names}
            assert not used & names, f"{module}, line {getattr(node, 'lineno', 0)}"
