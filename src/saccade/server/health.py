"""What probes ask: is the process there, would a request be answered now. Both answers come from what is known, without
asking anybody."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from saccade.backends.base import Backend
from saccade.errors import BusyError
from saccade.server.gate import Gate


def health_routes(backend: Backend, gate: Gate) -> APIRouter:
    """The routes that need no key."""
    router = APIRouter()

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/health/ready")
    async def ready() -> JSONResponse:
        if backend.ready and not gate.closed:
            return JSONResponse({"status": "ready", "model": backend.card().id})
        told, error = _why_not(backend, gate)
        headers = {"retry-after": str(error.retry_after)}
        return JSONResponse({**told, **error.to_openai()}, error.status, headers)

    return router


def _why_not(backend: Backend, gate: Gate) -> tuple[dict[str, Any], BusyError]:
    """The state of a backend that is not ready, and the same for people."""
    if gate.closed:
        return {"status": "stopping"}, BusyError("The server is being stopped.", code="shutting_down")
    if loading := backend.progress():
        told = {
            "status": "loading",
            "stage": loading.stage,
            "fraction": None if loading.fraction is None else round(loading.fraction, 3),
            "seconds": round(loading.seconds, 1),
        }
        return told, BusyError(f"The model is being loaded ({loading.stage}).", code="loading")
    if not backend.alive():
        return {"status": "stopped"}, BusyError("The engine has stopped.", hint="Restart the server.")
    return {"status": "restarting"}, BusyError("The model is not ready.")
