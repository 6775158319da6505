"""A path below one directory -> the bytes of the file there; no link leads out of it, not even one that is made while
the path is walked."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit


def read_below(root: Path, url: str, limit: int) -> bytes:
    """The first `limit` bytes of a file named by a path or a file: URL. Raises OSError or ValueError when there is none
    below `root`: elsewhere, missing, a directory, a pipe and a device are all the same."""
    name = _path(url) if url[:5].lower() == "file:" else url
    top = os.path.realpath(root)
    path = os.path.realpath(os.path.join(top, name), strict=True)
    parts = os.path.relpath(path, top).split(os.sep)
    if os.path.commonpath((top, path)) != top or path == top:
        raise ValueError("it is outside")
    # Between that look and this one a directory may have become a link: here none is followed any more.
    here = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = inner
        # Without O_NONBLOCK, opening a pipe waits for somebody who writes.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        file = os.open(parts[-1], flags, dir_fd=here)
    finally:
        os.close(here)
    with os.fdopen(file, "rb") as reader:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise ValueError("it is no regular file")
        return reader.read(limit)


def _path(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
        raise ValueError("it is on another machine")
    return unquote(parts.path, errors="strict")
