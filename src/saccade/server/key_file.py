"""The file of keys is read again when it changes, so that a key is withdrawn without a restart."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from saccade.errors import SettingsError
from saccade.server.keys import load_keys

SECONDS = 1.0
"""Between two looks at the file."""
_log = logging.getLogger(__name__)


class KeyFile:
    """What stands in a file of keys now."""

    def __init__(self, secret: str | None, file: Path) -> None:
        """Both as for `load_keys`, which may raise."""
        self._secret, self._file = secret, file
        self._seen = self._stamp()
        self.keys = load_keys(secret, file)
        """Always the same object."""

    async def follow(self) -> None:
        """Look at the file until cancelled. One that is broken or gone changes nothing: the log has the error, which
        does not say what stands in it."""
        while True:
            await asyncio.sleep(SECONDS)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Read the file if it is not what it was."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self.keys.become(load_keys(self._secret, self._file))
        except SettingsError as error:
            _log.error("%s The keys stay those that they were.", error.message)
        else:
            _log.info("The keys were read again: there are %d.", len(self.keys))

    def _stamp(self) -> tuple[int, int, int] | None:
        """Changes whenever the file does; links are followed. None: there is none."""
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
