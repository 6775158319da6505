"""How log lines look, here and in the engine process: text or one JSON object a line; keys and files never stand in
them, whoever logs."""

from __future__ import annotations

import json
import logging
import logging.config
import re
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

Format: TypeAlias = Literal["text", "json"]
MAX_MESSAGE = 2000
"""Characters of a message that are kept."""
FIELDS = "fields"
"""The attribute of a record whose values become fields of their own: `log.info(..., extra={FIELDS: {...}})`."""

_SECRETS = (
    (re.compile(r"(?i)(bearer\s+)[^\s\"',;]+"), r"\1***"),
    (re.compile(r"(?i)((?:x-api-key|api[_-]key)[\"']?\s*[:=]\s*[\"']?)[^\s\"',;]+"), r"\1***"),
    (re.compile(r"\bsk-[\w-]{8,}"), "sk-***"),
    (re.compile(r"(?i)(data:[\w.+/-]{0,80};base64,)[\w+/=%-]*"), r"\1***"),
)


def masked(text: str) -> str:
    """A text without what could be a key or a file."""
    for pattern, stand_in in _SECRETS:
        text = pattern.sub(stand_in, text)
    return text


class TextFormatter(logging.Formatter):
    """For people: a time, a level, who says it and what, then fields as name=value; a traceback follows."""

    def __init__(self, process: str = "") -> None:
        super().__init__(f"%(asctime)s %(levelname)s %(name)s{f' ({process})' if process else ''}: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = _line(record.message)
        fields = getattr(record, FIELDS, {})
        return " ".join([super().formatMessage(record), *(f"{k}={v}" for k, v in fields.items() if v is not None)])

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


class JsonFormatter(logging.Formatter):
    """For machines: everything in one object on one line."""

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _line(record.getMessage()),
            **({"process": self._process} if self._process else {}),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        clean = {name: masked(value) if isinstance(value, str) else value for name, value in told.items()}
        return json.dumps(clean, ensure_ascii=False, default=str)


def config(format: Format, level: str, process: str = "") -> dict[str, Any]:
    """For logging.config.dictConfig: everything to standard error. uvicorn tells no more than warnings."""
    formatter = JsonFormatter if format == "json" else TextFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter, "process": process}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {"saccade": {"level": level.upper()}},
    }


def _line(message: str) -> str:
    """A message on one line, and not longer than is sensible."""
    message = message.replace("\r", "\\r").replace("\n", "\\n")
    return message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}..."
