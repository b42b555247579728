"""Curves of a run as a picture: SVG written by hand, PNG where matplotlib is installed.

A series is a name and a list of (x, y); points that are not finite break the line. The SVG needs nothing,
opens in any browser, and is legible on light and dark pages.
"""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Mapping, Sequence
from html import escape

from .. import _io

Series = Mapping[str, Sequence[tuple[float, float]]]

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 44, 52
COLORS = ("#2f6fde", "#e07b39", "#3a9d5d", "#b0457e", "#7a6ad8", "#8a8d91")  # told apart in greyscale, too


def write_svg(path: str, series: Series, *, title: str, x_label: str, y_label: str) -> None:
    """Write the curves to an SVG file."""
    _io.write_atomic(path, svg(series, title=title, x_label=x_label, y_label=y_label))


def svg(series: Series, *, title: str, x_label: str, y_label: str) -> str:
    """The curves as SVG text. Without a finite point: axes that say so."""
    points = [(x, y) for line in series.values() for x, y in line if math.isfinite(x) and math.isfinite(y)]
    x_ticks = ticks(min((x for x, _ in points), default=0), max((x for x, _ in points), default=1))
    y_ticks = ticks(min((y for _, y in points), default=0), max((y for _, y in points), default=1))
    x0, x1, y0, y1 = x_ticks[0], x_ticks[-1], y_ticks[0], y_ticks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        across, down = (x - x0) / (x1 - x0), (y1 - y) / (y1 - y0)
        return LEFT + across * (WIDTH - LEFT - RIGHT), TOP + down * (HEIGHT - TOP - BOTTOM)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="bold" fill="#222222">{escape(title)}</text>',
    ]
    for x in x_ticks:
        px, _ = place(x, y0)
        out.append(f'<path d="M{px:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e8e8e8"/>')
        out.append(_text(px, HEIGHT - BOTTOM + 18, _number(x), "middle"))
    for y in y_ticks:
        _, py = place(x0, y)
        out.append(f'<path d="M{LEFT} {py:.1f}H{WIDTH - RIGHT}" stroke="#e8e8e8"/>')
        out.append(_text(LEFT - 8, py + 4, _number(y), "end"))
    out.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_label, "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    out.append(f'<g transform="rotate(-90 16 {middle})">{_text(16, middle, y_label, "middle")}</g>')

    for i, (name, line) in enumerate(series.items()):
        color = COLORS[i % len(COLORS)]
        path, pen_down = [], False
        for x, y in line:
            drawn = math.isfinite(x) and math.isfinite(y)
            if drawn:
                px, py = place(x, y)
                path.append(f"{'L' if pen_down else 'M'}{px:.1f} {py:.1f}")
            pen_down = drawn
        width = 1.2 if len(line) > 200 else 2
        out.append(f'<path d="{"".join(path)}" fill="none" stroke="{color}" stroke-width="{width}"/>')
        if len(line) <= 40:
            dots = [place(x, y) for x, y in line if math.isfinite(x) and math.isfinite(y)]
            out += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{color}"/>' for px, py in dots]
        y_legend = TOP + 16 + 18 * i
        out.append(f'<path d="M{WIDTH - 190} {y_legend - 4}h22" stroke="{color}" stroke-width="3"/>')
        out.append(_text(WIDTH - 160, y_legend, name, "start"))
    if not points:
        out.append(_text(WIDTH / 2, HEIGHT / 2, "nothing to show", "middle"))
    return "\n".join([*out, "</svg>", ""])


def write_png(path: str, series: Series, *, title: str, x_label: str, y_label: str) -> bool:
    """Write the curves to a PNG file with matplotlib; False, nothing written, where it is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    figure = Figure(figsize=(WIDTH / 80, HEIGHT / 80), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=x_label, ylabel=y_label)
    for i, (name, line) in enumerate(series.items()):
        marker = "o" if len(line) <= 40 else ""
        axes.plot(
            [x for x, _ in line],
            [y for _, y in line],
            color=COLORS[i % len(COLORS)],
            marker=marker,
            label=name,
        )
    axes.grid(color="#e8e8e8")
    if series:
        axes.legend()
    picture = io.BytesIO()
    FigureCanvasAgg(figure).print_png(picture)
    _io.write_atomic(path, picture.getvalue())
    return True


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """At least two round numbers (1, 2 or 5 times a power of ten apart) that enclose low .. high."""
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-300):
        spread = abs(low) / 2 or 1.0
        low, high = low - spread, high + spread
    raw = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= raw * (1 - 1e-9))
    return [i * step for i in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _number(x: float) -> str:
    return f"{x:,.0f}" if 1000 <= abs(x) < 1e9 and x == round(x) else f"{x:.6g}"


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#444444">{escape(text)}</text>'
