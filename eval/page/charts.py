"""Line and scatter charts as inline SVG: pure functions from numbers to markup."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from eval.page.markup import Markup, element

WIDTH, HEIGHT = 460.0, 310.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 10.0, 10.0, 42.0
_FEW = 400  # samples that are drawn as large dots
YAW_EDGES_DEG = (-60.0, -30.0, 30.0, 60.0)


class Series(NamedTuple):
    """Errors of one method. `style`: the class that colours it; `in_all`: samples, with those left out.

    `yaw_deg`: the true yaw of each error, where it is known.
    """

    label: str
    style: str
    names: tuple[str, ...]
    errors: Float[np.ndarray, " N"]
    in_all: int
    yaw_deg: Float[np.ndarray, " N"] | None = None


class _Frame(NamedTuple):
    """Where values lie in the picture: limits of the axes."""

    left: float
    right: float
    top: float

    def x(self, value: float) -> float:
        return _LEFT + (value - self.left) / (self.right - self.left) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - value / self.top * (HEIGHT - _TOP - _BOTTOM)


def cumulative(
    errors: Float[np.ndarray, " N"], in_all: int | None = None
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Sorted errors, and the share of samples with an error of at most that.

    It ends at 1, or below where `in_all` counts samples without an error too. ValueError where an error is not finite,
    or there are more than `in_all`.
    """
    if not np.isfinite(errors).all():
        raise ValueError(f"{int((~np.isfinite(errors)).sum())} of {len(errors)} errors are not finite")
    count = len(errors) if in_all is None else in_all
    if count < len(errors):
        raise ValueError(f"{len(errors)} errors of {count} samples in all")
    return np.sort(errors).astype(np.float64), np.arange(1, len(errors) + 1) / max(count, 1)


def nice_step(span: float, most: int = 6) -> float:
    """The least of 1, 2, 2.5, 5 times a power of ten that divides `span` into `most` steps at most."""
    if not span > 0:
        raise ValueError(f"expected a positive span, got {span}")
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if span / (factor * power) <= most * (1 + 1e-9))


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`."""
    step = nice_step(high - low, most)
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def ced_chart(series: Sequence[Series], limit: float, x_label: str) -> Markup:
    """Share of the samples with an error of at most x, for x from 0 to `limit`; samples left out are never reached."""
    frame = _Frame(0.0, limit, 1.0)
    parts = [_axes(frame, ticks(0.0, limit), [0.0, 0.25, 0.5, 0.75, 1.0], (x_label, "share of samples"), "{:.0%}")]
    for one in series:
        points = [(0.0, 0.0)]
        for error, share in zip(*cumulative(one.errors, one.in_all), strict=True):
            if error > limit:
                break
            points += [(float(error), points[-1][1]), (float(error), float(share))]
        points.append((limit, points[-1][1]))
        path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)
        parts.append(element("polyline", element("title", one.label), points=path, class_=f"line {one.style}"))
    return _svg(parts, f"Cumulative error distribution: {x_label}")


def yaw_chart(series: Sequence[Series], limit: float, y_label: str) -> Markup:
    """Error of each sample over its true yaw; those above `limit` are drawn as triangles at the upper edge."""
    yaws = np.concatenate([np.abs(one.yaw_deg) for one in series if one.yaw_deg is not None])
    widest = max(90.0, 30.0 * math.ceil(float(yaws.max(initial=0.0)) / 30.0 + 1e-9))
    frame = _Frame(-widest, widest, limit)
    labels = ("true yaw, degrees", y_label)
    parts = [_axes(frame, list(np.arange(-widest, widest + 1, 30.0)), ticks(0.0, limit), labels, "{:g}")]
    ends = {"y1": frame.y(0.0), "y2": frame.y(limit)}
    parts += [element("line", class_="edge", x1=frame.x(yaw), x2=frame.x(yaw), **ends) for yaw in YAW_EDGES_DEG]
    radius = 3.6 if len(yaws) <= _FEW else 2.0
    for one in series:
        if one.yaw_deg is not None:
            parts += [_point(frame, one, k, radius) for k in range(len(one.errors))]
    return _svg(parts, f"{y_label} over true yaw")


def _point(frame: _Frame, one: Series, index: int, radius: float) -> Markup:
    assert one.yaw_deg is not None
    error, yaw = float(one.errors[index]), float(one.yaw_deg[index])
    title = element("title", f"{one.names[index]}: {one.label} {error:.2f} at yaw {yaw:.0f}°")
    x, y = frame.x(yaw), frame.y(min(error, frame.top))
    if error > frame.top:
        corners = f"{x:.1f},{y:.1f} {x - 4:.1f},{y + 7:.1f} {x + 4:.1f},{y + 7:.1f}"
        return element("polygon", title, points=corners, class_=f"dot {one.style}")
    return element("circle", title, cx=x, cy=y, r=radius, class_=f"dot {one.style}")


def _axes(frame: _Frame, across: list[float], up: list[float], labels: tuple[str, str], form: str) -> Markup:
    """Grid, numbers and labels; `form` writes the numbers of the y axis."""
    parts: list[Markup] = []
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    for value in across:
        x = frame.x(value)
        parts.append(element("line", class_="grid", x1=x, x2=x, y1=_TOP, y2=bottom))
        parts.append(element("text", f"{value:g}", class_="number", x=x, y=bottom + 15, text_anchor="middle"))
    for value in up:
        y = frame.y(value)
        parts.append(element("line", class_="grid", x1=_LEFT, x2=right, y1=y, y2=y))
        parts.append(element("text", form.format(value), class_="number", x=_LEFT - 6, y=y + 4, text_anchor="end"))
    middle = (_TOP + bottom) / 2
    parts.append(element("text", labels[0], class_="label", x=(_LEFT + right) / 2, y=HEIGHT - 8, text_anchor="middle"))
    turn = f"rotate(-90 12 {middle:.1f})"
    parts.append(element("text", labels[1], class_="label", x=12, y=middle, text_anchor="middle", transform=turn))
    return element("g", *parts)


def _svg(parts: list[Markup], title: str) -> Markup:
    return element("svg", element("title", title), *parts, viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", role="img")
