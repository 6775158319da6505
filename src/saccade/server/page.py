"""The page at `/` and its files below `/ui`: read from the package, compressed once, held by browsers for good; knows
nothing of what they do.

    /                      names the files below a version, the digest of all of them
    /ui/<version>/page.js  every module that the page opens with, in one; never changes, so a browser asks for it once
    /ui/latest/page.js     the same for pages of others, asked about each time; so are the modules one by one
"""

from __future__ import annotations

import gzip
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from saccade.server.joined import joined

POLICY = "; ".join((
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "media-src blob:",
    "connect-src 'self'",
    "worker-src 'self'",
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'self'",
))  # fmt: skip
"""Nothing from outside, no script but ours. Styles within a text are for the frames that show a model's HTML, which
inherit this policy and narrow it down; a style can load nothing that the other lines forbid."""

TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/manifest+json",
    "md": "text/markdown; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
}
INDEX = "index.html"
ALL_MODULES = "page.js"
BORROWED = {"receipt.png": "demo/examples/receipt.png"}
"""Files of other rooms that the page shows, by the name it knows them by."""
FOR_GOOD = "public, max-age=31536000, immutable"
ASK_EACH_TIME = "no-cache"


class File:
    """One file of the page; compressed when it is first asked for."""

    def __init__(self, name: str, content: bytes) -> None:
        self.content = content
        self.type = TYPES[name.rpartition(".")[2]]
        self.etag = f'"{sha256(content).hexdigest()[:32]}"'
        self._compressed: bytes | None = None

    @property
    def compressed(self) -> bytes:
        """As gzip; level 9, since it is done once."""
        if self._compressed is None:
            self._compressed = gzip.compress(self.content, 9, mtime=0)
        return self._compressed


def page_routes() -> APIRouter:
    """The routes of the page; none of them needs a key."""
    package = files("saccade")
    all_files = _read(package / "webui")
    all_files |= {name: File(name, (package / path).read_bytes()) for name, path in BORROWED.items()}
    modules = {name: file.content.decode() for name, file in all_files.items() if name.endswith(".js")}
    all_files[ALL_MODULES] = File(ALL_MODULES, joined(modules, "app.js").encode())
    version = _version(all_files)
    index = File(INDEX, all_files[INDEX].content.replace(b"{base}", f"ui/{version}".encode()))
    router = APIRouter()

    @router.api_route("/", methods=["GET", "HEAD"])
    async def page(http: Request) -> Response:
        return _answer(http, index, ASK_EACH_TIME)

    @router.api_route("/ui/{asked}/{name:path}", methods=["GET", "HEAD"])
    async def part(http: Request, asked: str, name: str) -> Response:
        if name not in all_files:
            raise HTTPException(404, "Not Found")
        return _answer(http, all_files[name], FOR_GOOD if asked == version else ASK_EACH_TIME)

    return router


def _read(directory: Traversable, prefix: str = "") -> dict[str, File]:
    """Every file below a directory whose kind is known, by its path."""
    found: dict[str, File] = {}
    for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
        name = prefix + entry.name
        if entry.is_dir():
            found |= _read(entry, name + "/")
        elif entry.name.rpartition(".")[2] in TYPES:
            found[name] = File(name, entry.read_bytes())
    return found


def _version(all_files: dict[str, File]) -> str:
    return sha256("".join(name + file.etag for name, file in all_files.items()).encode()).hexdigest()[:16]


def _answer(http: Request, file: File, cache: str) -> Response:
    headers = {
        "etag": file.etag,
        "cache-control": cache,
        "vary": "accept-encoding",
        "content-security-policy": POLICY,
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
    }
    if file.etag in http.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    body = file.content
    if "gzip" in http.headers.get("accept-encoding", ""):
        body, headers["content-encoding"] = file.compressed, "gzip"
    headers["content-length"] = str(len(body))  # of HEAD, too
    return Response(b"" if http.method == "HEAD" else body, headers=headers, media_type=file.type)
