"""Small drawn marks: check boxes and radio buttons; a place and a state come in, the mark's box goes out."""

from __future__ import annotations

from saccade.demo.world.canvas import Box, Canvas, Color


def check_box(
    canvas: Canvas,
    x: float,
    y: float,
    side: int,
    on: bool,
    mark: str,
    ink: Color,
    inside: Color,
    radius: int,
    zoom: float,
) -> Box:
    """A square of `side` pixels at (x, y); when on, with a check, a cross, or filled with a check cut out."""
    left, top = round(x), round(y)
    box = (left, top, left + side, top + side)
    thick = max(1.0, side / 8)
    line = max(1, round(zoom * (1 if side < 18 * zoom else 2)))
    filled = on and mark == "fill"
    canvas.rounded(box, radius, ink if filled else inside, ink, line)
    if on and mark == "cross":
        a, b = 0.24 * side, 0.76 * side
        canvas.line([(left + a, top + a), (left + b, top + b)], ink, thick)
        canvas.line([(left + a, top + b), (left + b, top + a)], ink, thick)
    elif on:
        points = [(0.2, 0.52), (0.42, 0.74), (0.8, 0.26)]
        color = inside if filled else ink
        canvas.line([(left + px * side, top + py * side) for px, py in points], color, thick)
    return box


def radio(canvas: Canvas, x: float, y: float, side: int, on: bool, ink: Color, inside: Color) -> Box:
    """A ring of `side` pixels at (x, y), with a dot when on."""
    left, top = round(x), round(y)
    box = (left, top, left + side, top + side)
    canvas.ellipse(box, ink)
    ring = max(1.0, side / 12)
    canvas.ellipse((left + ring, top + ring, left + side - ring, top + side - ring), inside)
    if on:
        dot = side * 0.27
        canvas.ellipse((left + dot, top + dot, left + side - dot, top + side - dot), ink)
    return box
