"""A number beside its neighbours on a scale from its least to its greatest, as SVG of any width."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from disbench.markup import Html, tag
from disbench.neighbours import Neighbour

KINDS = {
    "trained": "other trained models",
    "baseline": "baselines",
    "floor": "floor (random codes)",
    "ceiling": "ceiling (the true factors)",
    "published": "published, not comparable in identity",
}
MEASURED_LANE, PUBLISHED_LANE = 12, 33  # pixels from the top
_HEIGHT, _HEIGHT_WITH_PUBLISHED = 24, 46
_SHAPES = {
    "trained": "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0",
    "baseline": "M-3.5,-3.5h7v7h-7z",
    "floor": "M0,-9v18M0,9h5",
    "ceiling": "M0,-9v18M0,-9h-5",
    "published": "M0,-6L6,0L0,6L-6,0z",
}


@dataclass(frozen=True)
class Scale:
    """From `low` to `high`; an end that has no limit lies where the numbers end."""

    low: float
    high: float
    is_open_low: bool = False
    is_open_high: bool = False

    @classmethod
    def of(cls, low: float, high: float, numbers: Iterable[float]) -> Scale:
        """A scale for numbers of a range; an infinite end is put well beyond them."""
        seen = [number for number in numbers if math.isfinite(number)]
        is_open = math.isinf(low), math.isinf(high)
        if is_open[0]:
            low = _round_up(min([*seen, 0.0], key=float), away=-1)
        if is_open[1]:
            high = _round_up(2 * max([*seen, low], key=float), away=1)  # at half of it, no number looks like the best
        return cls(low, high if high > low else low + 1, *is_open)

    def place(self, number: float) -> str:
        """Where a number lies, in per cent of the width; numbers outside at the nearer end."""
        share = (number - self.low) / (self.high - self.low)
        return f"{100 * min(1.0, max(0.0, share)):.2f}%"


def drawn(
    value: float, interval: tuple[float, float] | None, neighbours: Sequence[Neighbour], scale: Scale, name: str
) -> Html:
    """The scale with the value on it, its interval, and its neighbours; what is published in a lane of its own."""
    has_published = any(one.kind == "published" for one in neighbours)
    height = _HEIGHT_WITH_PUBLISHED if has_published else _HEIGHT
    lane = str(MEASURED_LANE)
    marks: list[Html] = [tag("line", class_="track", x1="0%", x2="100%", y1=lane, y2=lane)]
    if has_published:
        y = str(PUBLISHED_LANE)
        marks.append(tag("line", class_="track of-published", x1="0%", x2="100%", y1=y, y2=y))
    order = list(KINDS)
    marks += [_mark(one, scale) for one in sorted(neighbours, key=lambda one: order.index(one.kind))]
    if interval is not None:
        ends = {"x1": scale.place(interval[0]), "x2": scale.place(interval[1])}
        marks.append(tag("line", class_="interval", y1=lane, y2=lane, **ends))
    marks.append(
        tag("circle", tag("title", f"this model: {value:.4f}"), class_="this", r="6", cx=scale.place(value), cy=lane)
    )
    label = f"{name}: {value:.4f} on a scale from {scale.low:g} to {scale.high:g}, beside {len(neighbours)} others"
    return tag("svg", *marks, class_="scale", height=str(height), role="img", aria_label=label)


def symbol(kind: str) -> Html:
    """The mark of a kind, for a legend; `this` for the model's own."""
    if kind == "this":
        mark = tag("circle", class_="this", r="6", cx="9", cy="10")
    else:
        mark = tag("svg", tag("path", d=_SHAPES[kind]), class_=f"mark {kind}", x="9", y="10", overflow="visible")
    return tag("svg", mark, class_="symbol", width="18", height="20", aria_hidden="true")


def _mark(neighbour: Neighbour, scale: Scale) -> Html:
    y = PUBLISHED_LANE if neighbour.kind == "published" else MEASURED_LANE
    what = f"{neighbour.label}: {neighbour.value:.4f}" + (" (published)" if neighbour.kind == "published" else "")
    path = tag("path", tag("title", what), d=_SHAPES[neighbour.kind])
    return tag(
        "svg", path, class_=f"mark {neighbour.kind}", x=scale.place(neighbour.value), y=str(y), overflow="visible"
    )


def _round_up(number: float, away: int) -> float:
    """A round number a little farther from 0 than this, or 0 for one on the other side of it."""
    if number * away <= 0:
        return 0.0
    unit = 10 ** math.floor(math.log10(abs(number)))
    return float(f"{away * math.ceil(abs(number) * 1.02 / unit * 2) / 2 * unit:.6g}")
