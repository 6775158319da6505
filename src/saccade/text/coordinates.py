"""Places in a picture, as the model writes them, become pixels: text comes in, the same text with other numbers goes
out; knows no pictures beyond their size.

Models of this family tell places from 0 to 1000 along each side, whatever the size of the picture. What counts as a
place are the numbers of a list behind one of the keys below, x and y in turn: {"bbox_2d": [x, y, x, y]}.
"""

from __future__ import annotations

import re

SCALE = 1000
KEYS = ("bbox_2d", "bbox", "point_2d", "points_2d", "point", "points", "polygon", "coordinate", "coordinates")

_KEY = re.compile(rf'"(?:{"|".join(KEYS)})"\s{{0,8}}:\s{{0,8}}\[')
_MAYBE = re.compile(r'"[a-z_2]{0,11}(?:"\s{0,8}(?::\s{0,8})?)?\Z')
"""What may become a key and its bracket."""
MAX_MAYBE = 40
"""Characters, more than that can have."""
MAX_HELD = 64
"""Characters of what may become a number; longer ones stay as they are."""
_SIGNS = "[], \t\r\n"
_ITEM = re.compile(r"[-+.0-9eE]+|[\[\], \t\r\n]")
_NUMBER = re.compile(r"-?\d{1,9}(?:\.\d{1,18})?", re.ASCII)


class PixelCoordinates:
    """Rewrites one text as it comes; a number is told when it is complete."""

    def __init__(self, size: tuple[int, int]) -> None:
        """`size`: (height, width) of the picture in pixels."""
        height, width = size
        self._sides = (width, height)
        self._held = ""
        self._depth = 0
        """Of open lists of places; 0: in other text."""
        self._axis = 0
        """0: the next number is an x, 1: a y."""
        self._long = False
        """Whether what comes next goes on with a number that is too long to be one."""

    def push(self, text: str) -> str:
        """Take more text; returns what is certain now."""
        return self._take(self._held + text, final=False)

    def finish(self) -> str:
        """The rest after the last piece."""
        return self._take(self._held, final=True)

    def _take(self, text: str, *, final: bool) -> str:
        made: list[str] = []
        at = 0
        while True:
            if not self._depth:
                if key := _KEY.search(text, at):
                    made.append(text[at : key.end()])
                    at, self._depth, self._axis = key.end(), 1, 0
                    continue
                maybe = None if final else _MAYBE.search(text, max(at, len(text) - MAX_MAYBE))
                end = maybe.start() if maybe else len(text)
                made.append(text[at:end])
                at = end
                break
            item = _ITEM.match(text, at)
            if item is None and at < len(text):
                self._depth = 0  # no list of places
                continue
            if item is None or (item.end() == len(text) and not final and item[0][0] not in _SIGNS and not self._long):
                break
            made.append(self._told(item[0]))
            at = item.end()
        self._held = text[at:]
        if len(self._held) > MAX_HELD:
            made.append(self._held)
            self._held, self._long = "", True
        return "".join(made)

    def _told(self, item: str) -> str:
        """A bracket, a comma or space as they are; a number in pixels."""
        if item[0] in _SIGNS:
            self._long = False
            if item == ",":
                self._axis = 1 - self._axis
            elif item in "[]":
                self._depth += 1 if item == "[" else -1
                self._axis = 0
            return item
        side = self._sides[self._axis]
        if self._long or not _NUMBER.fullmatch(item):
            return item
        return str(min(max(0, round(float(item) * side / SCALE)), side))
