"""Every setting once: flags, SACCADE_* variables and a TOML file come in, one frozen record goes out; the only reader
of the environment, and it knows no other room.

    saccade serve --max-pixels 1000000        wins over
    SACCADE_MAX_PIXELS=1000000                wins over
    max_pixels = 1000000   (--config FILE)    wins over
    the default

A name that is no setting is an error in each of the four, so that a typing error never passes for a default.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin

from pydantic import BeforeValidator, ByteSize, DirectoryPath, Field, FilePath, SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from saccade.errors import SettingsError

PREFIX = "SACCADE_"
FILE_VARIABLE = f"{PREFIX}CONFIG"


def _split(value: Any) -> Any:
    """Of a text with commas its pieces."""
    return tuple(piece.strip() for piece in value.split(",") if piece.strip()) if isinstance(value, str) else value


Names: TypeAlias = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class LocalSettings(BaseSettings):
    """What a model on this machine needs: which one, how it is loaded, what it may look at."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    model: str = Field(
        "demo", min_length=1, description='A model directory, a name on the hub, or "demo", the small bundled model'
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto",
        description="Number format of weights and activations; auto: the checkpoint's where the device is quick at it",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU",
    )
    load_format: Literal["auto", "dummy"] = Field(
        "auto", description="dummy: random weights from config.json alone, to measure speed without a download"
    )
    offline: bool = Field(False, description="Never download; a model that is not on this machine is an error")
    source: Literal["huggingface", "modelscope"] = Field(
        "huggingface", description="The hub that names are looked up on (modelscope needs the extra of that name)"
    )
    max_context: int | None = Field(
        None, ge=1, description="Longest prompt and answer together, in tokens; none: what the model was made for"
    )
    max_running: int | None = Field(
        None, ge=1, description="Requests computed at the same time, further ones wait; none: as the device suggests"
    )
    step_timeout: float | None = Field(
        None,
        gt=0,
        description="Seconds that any step may take before the engine process counts as hanging and is replaced; a "
        "large step may take longer; none: 30 on a GPU, 60 on a CPU",
    )
    gpu_memory_utilization: float = Field(
        0.9, gt=0, le=1, description="Share of the GPU's memory that weights, caches and work space may take together"
    )
    kv_cache_memory: ByteSize | None = Field(
        None, ge=1, description="Memory for keys and values; none: what that share leaves, on a CPU what is needed"
    )
    feature_cache_memory: ByteSize | None = Field(
        None, ge=1, description="Memory on the device for features of pictures; none: as the device suggests"
    )
    host_feature_cache_memory: ByteSize = Field(
        ByteSize(0), ge=0, description="Main memory for features of pictures that had to leave the GPU"
    )
    picture_cache_memory: ByteSize = Field(
        ByteSize(512 * 2**20),
        ge=0,
        description="Main memory for prepared pictures, in case their files are sent again; beside a GPU it is pinned",
    )
    prefix_cache: bool = Field(True, description="Reuse keys and values where prompts begin alike")
    feature_cache: bool = Field(True, description="Reuse features of pictures that were seen before")
    cuda_graphs: bool = Field(True, description="Replay steps as CUDA graphs, where there is a GPU")
    overlap: bool | None = Field(
        None, description="Launch a step before the tokens of the one before are read; none: on a GPU"
    )
    slices: bool = Field(
        True, description="Compute pictures and long prompts in slices, so that running streams go on meanwhile"
    )
    fused_kernels: bool = Field(
        True, description="Fused kernels, where the device has them; else each op by itself in plain PyTorch"
    )
    max_pixels: int = Field(
        4_194_304,
        ge=1024,
        description="Pixels a picture is scaled down to at most; the vision tower's work grows faster than the area",
    )
    max_image_pixels: int = Field(
        40_000_000, ge=1, description="Pixels a picture file may have before it is decoded; more is refused"
    )
    max_file_bytes: ByteSize = Field(
        ByteSize(32 * 2**20), ge=1, description="Size of one picture or video file; more is refused"
    )
    media_store_memory: ByteSize = Field(
        ByteSize(512 * 2**20), ge=0, description="Main memory for files that were sent with POST /v1/media"
    )
    allow_remote_media: bool = Field(
        False,
        description="Fetch pictures and videos from http(s) addresses of the public internet that requests name",
    )
    allow_media_hosts: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._:-]+( *, *[A-Za-z0-9._:-]+)*$",
        description="Hosts, separated by commas, to fetch from in any case, even if their addresses are private",
    )
    remote_timeout: float = Field(20.0, gt=0, description="Seconds that fetching one http(s) file may take")
    media_root: DirectoryPath | None = Field(
        None, description="Directory below which requests may name files; none: no files"
    )
    max_frames: int = Field(768, ge=2, description="Frames taken from one video at most")
    max_video_frames: int = Field(
        200_000, ge=1, description="Frames a video file may hold; a longer one is refused before it is decoded"
    )
    max_video_pixels: int = Field(
        32_000_000_000, ge=1, description="Pixels decoded for one video, in all frames together; more is refused"
    )
    decode_workers: int | None = Field(
        None, ge=0, description="Processes that decode pictures and videos; none: one for each core, 2 to 8; 0: no own"
    )
    decode_timeout: float = Field(60.0, gt=0, description="Seconds that decoding one file may take")
    decode_memory: ByteSize = Field(
        ByteSize(2 * 2**30), ge=2**28, description="Memory that decoding one file may take, beside its pixels"
    )
    video_outer_markers: bool = Field(
        False, description="Put one more pair of vision markers around a whole video, as some released processors do"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed: `load` merges the sources itself, since it must name the one a bad value came from."""
        return (init_settings,)


class Settings(LocalSettings):
    """All settings: those of the model, and how it is served."""

    host: str = Field(
        "127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0: every network of this machine"
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0: any free one")
    api_key: SecretStr | None = Field(
        None, min_length=1, description="Key that requests must bring; as a flag every user of this machine can see it"
    )
    api_key_file: FilePath | None = Field(
        None, description="File with the keys that requests may bring, as hashes; `saccade key NAME` makes its lines"
    )
    share_caches: bool = Field(
        False, description="Find what was computed for another key too; its holder can tell by the time it takes"
    )
    insecure: bool = Field(False, description="Listen on an address that other machines reach without any key")
    allowed_host: Names = Field(
        (), description="Names that a Host header may have, with commas; none: on a loopback address its own, else any"
    )
    cors_origin: Names = Field(
        (), description="Origins of pages elsewhere that may call, with commas, as https://example.org"
    )
    served_model_name: str | None = Field(
        None, min_length=1, description="Name that requests call the model by; none: the value of model"
    )
    max_body_bytes: ByteSize = Field(
        ByteSize(64 * 2**20), ge=1, description="Size of one request; more is refused while it is read"
    )
    max_waiting: int = Field(
        1024, ge=1, description="Requests that may wait for their first token; another one is refused with 429"
    )
    max_queued_tokens: int = Field(
        1_000_000, ge=1, description="Tokens that the prompts of those that wait may have together, as estimated"
    )
    max_queued_pixels: int = Field(
        4_000_000_000, ge=1, description="Pixels that their pictures may have together before they are scaled down"
    )
    max_queued_bytes: ByteSize = Field(
        ByteSize(2**30), ge=1, description="Size that their bodies may have together, those being read included"
    )
    queue_timeout: float = Field(
        300.0, gt=0, description="Seconds a request may wait for its first token; one that would wait longer is refused"
    )
    target_ttft: float | None = Field(
        None, gt=0, description="Seconds to the first token that requests are refused for; none: they wait in the queue"
    )
    body_timeout: float = Field(
        10.0, gt=0, description="Seconds that a request's body may take, and one more for each 16 KiB that came"
    )
    ui: bool = Field(True, description="Serve the page for people at /")
    gradio: bool = Field(False, description="Serve it in a Gradio app at /gradio, too (needs the extra of that name)")
    vllm_metrics: bool = Field(False, description="Tell at /metrics what vLLM has too by its names as well")
    resume_seconds: int = Field(
        30, ge=0, description="How long a stream goes on for a client that asked to be able to come back"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Lines of the log on standard error; json: one object a line"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="info: one line for each request, without what was said in it; debug: for probes too"
    )
    profile_dir: DirectoryPath | None = Field(
        None, description="Directory for traces that saccade profile asks for; none: it may not ask"
    )
    otel_endpoint: str | None = Field(
        None,
        min_length=1,
        description="OTLP/HTTP address that gets a span of each request (needs the extra otel); none: as "
        "OTEL_EXPORTER_OTLP_ENDPOINT says, and without that no spans",
    )
    drain_seconds: int = Field(30, ge=0, description="How long answers under way may go on after SIGTERM or Ctrl-C")

    @property
    def model_name(self) -> str:
        """The name requests use."""
        return self.served_model_name or self.model


def load(flags: Mapping[str, Any], file: Path | None = None) -> Settings:
    """The settings of this process.

    `flags` are the values given on the command line, by field name; `file` the TOML file named there (else by
    SACCADE_CONFIG). Raises SettingsError naming the flag, variable or file and key at fault.
    """
    if file is None and os.environ.get(FILE_VARIABLE):
        file = Path(os.environ[FILE_VARIABLE])
    in_file = _read(file) if file else {}
    in_environment = EnvSettingsSource(Settings)()
    _refuse_unknown(in_file, file)
    try:
        return Settings(**{**in_file, **in_environment, **flags})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        in_text = variable(name) if name in in_environment else f"{file}: {name}"
        place = flag(name) if name in flags else in_text
        is_secret = SecretStr in get_args(Settings.model_fields[name].annotation)
        given = "" if is_secret else f" (given: {str(first['input'])!r})"
        raise SettingsError(f"{place}: {first['msg']}{given}.", param=name) from None


def outside_variables(*names: str) -> dict[str, str]:
    """Those of `names`, variables of other programs, that are set."""
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def parse_size(text: str, place: str) -> int:
    """Bytes of "24GiB" or "80 GB". Raises SettingsError naming `place`."""
    try:
        return _SIZE.validate_python(text)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise SettingsError(f"{place}: {message} (given: {text!r}).", hint="For example 24GiB.") from None


_SIZE = TypeAdapter(Annotated[ByteSize, Field(ge=1)])


def wants_spans(settings: Settings) -> bool:
    """Whether an endpoint for spans is given, here or by the standard's own variables."""
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return bool(settings.otel_endpoint or any(os.environ.get(name) for name in names))


def without_secrets() -> dict[str, str]:
    """The environment for a process that reads strangers' files: nothing that looks like a setting or a secret."""
    secret = re.compile(f"{PREFIX}|KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH", re.IGNORECASE)
    kept = {name: value for name, value in os.environ.items() if not secret.search(name)}
    # One thread for products; and malloc keeps what it will need for the next picture, in few places.
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    return kept | alone | {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**26)}


def with_allocator() -> dict[str, str]:
    """The environment for a process with a model: torch maps a GPU's memory piece by piece, if nothing else is said."""
    said = {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & set(os.environ)
    return dict(os.environ) if said else {**os.environ, "PYTORCH_ALLOC_CONF": "expandable_segments:True"}


def flag(name: str) -> str:
    """The command-line flag of a field."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """The environment variable of a field."""
    return PREFIX + name.upper()


def as_flags(settings: Settings, names: Iterable[str]) -> list[str]:
    """Words of a command line that give `names` the values they have here; defaults are left out."""
    words = []
    for name in names:
        value = getattr(settings, name)
        if value == Settings.model_fields[name].default:
            continue
        if isinstance(value, bool):
            words.append(flag(name) if value else f"--no-{flag(name)[2:]}")
        elif isinstance(value, tuple):
            words += [flag(name), ",".join(value)]
        else:
            words += [flag(name), str(int(value) if isinstance(value, ByteSize) else value)]
    return words


def is_switch(field: FieldInfo) -> bool:
    """Whether a field is on or off (or unset), and so has two flags."""
    return field.annotation is bool or bool in get_args(field.annotation)


def shape(field: FieldInfo) -> str:
    """What a value of the field looks like, for help texts: "INT", "true|false", "auto|dummy" ..."""
    kind: Any = next((kind for kind in get_args(field.annotation) if isinstance(kind, type)), field.annotation)
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    return {bool: "true|false", int: "INT", float: "NUMBER", ByteSize: "SIZE", str: "TEXT", SecretStr: "TEXT"}.get(
        kind, "PATH"
    )


def shown_default(field: FieldInfo) -> str:
    """The default as a person would type it."""
    value = field.default
    if isinstance(value, ByteSize):
        return value.human_readable(separator=" ")
    return {None: "none", (): "none", True: "true", False: "false"}.get(value, str(value))


def reference() -> str:
    """The page docs/settings.md."""
    rows = [
        f"| `{flag(name)}` | `{variable(name)}` | `{name}` | {shape(field).lower().replace('|', ', ')} "
        f"| {shown_default(field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return _PAGE.format(file=FILE_VARIABLE, rows="\n".join(rows))


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"The settings file {file} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"The settings file {file} is not TOML: {error}.") from None


def _refuse_unknown(in_file: Mapping[str, Any], file: Path | None) -> None:
    """SettingsError for a key of the file or a SACCADE_ variable that is no setting."""
    names = list(Settings.model_fields)
    places = {key: f"{file}: {key}" for key in in_file}
    places |= {
        name.removeprefix(PREFIX).lower(): name
        for name in os.environ
        if name.startswith(PREFIX) and name != FILE_VARIABLE
    }
    for key, place in places.items():
        if key not in names:
            close = get_close_matches(key, names, n=1)
            hint = f"Did you mean {variable(close[0]) if place.startswith(PREFIX) else close[0]}?" if close else None
            raise SettingsError(f"{place} is no setting.", param=key, hint=hint)


_PAGE = """\
# Settings

A flag wins over an environment variable, which wins over the TOML file named by `--config FILE` or `{file}`,
which wins over the default. A name that is not in this table is an error, and so is a value outside its range. Sizes
may carry a unit (`32MiB`). An empty variable counts as unset. A switch has two flags, `--offline` and `--no-offline`.

| Flag | Variable | Key in the file | Values | Default | Meaning |
|---|---|---|---|---|---|
{rows}

In a Kubernetes namespace with a Service called `saccade`, the cluster sets variables such as `SACCADE_PORT` and
`SACCADE_SERVICE_HOST` by itself; give the pod `enableServiceLinks: false`.
"""
