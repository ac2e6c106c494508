"""How a figure is drawn once and shown twice: in the page with the page's colours, and as files for a paper.

Matplotlib draws. In the page a figure is inline SVG whose colours are the page's (so that it follows light and dark)
and whose letters are the reader's; nothing of it is loaded, named by an address or able to run.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isheep.store.files import write_atomic
from isheep.terminal import printable

COLOURS = {
    "paper": "#ffffff",
    "ink": "#1b1f23",
    "soft": "#565d66",
    "rule": "#d9dde1",
    "main": "#1d5f96",
    "band": "#dde9f4",
    "warm": "#9a4a00",
    "line": "#8fb4d3",
    "loss": "#d0a274",
    "grey": "#8d959e",
}
"""The page's names of its colours, and what they are on paper; in the page each is a variable of that name."""
SERIES = ("#1d5f97", "#b5542c", "#3b7d4f", "#8a5a9e", "#a8871c", "#4a8a94", "#a3446f", "#6b6f76")
"""Colours of things beside each other; in the page they are the variables series-1, series-2 ..."""

DPI = 200
WIDTH = 3.5
"""Inches of a figure: a column of a paper, or of the page."""
SMALL = 8.5
"""Points of every letter in a figure."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "isheep",
    "text.parse_math": False,
    "axes.unicode_minus": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": SMALL,
    "axes.edgecolor": COLOURS["grey"],
    "axes.labelcolor": COLOURS["soft"],
    "axes.labelsize": SMALL,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "grid.color": COLOURS["rule"],
    "grid.linewidth": 0.6,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["grey"],
    "ytick.color": COLOURS["grey"],
    "xtick.labelcolor": COLOURS["soft"],
    "ytick.labelcolor": COLOURS["soft"],
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "ytick.major.size": 0,
    "xtick.major.size": 2.5,
    "legend.frameon": False,
    "legend.fontsize": SMALL,
    "lines.linewidth": 1.3,
}
_VARIABLES = {value: f"var(--{name})" for name, value in COLOURS.items()} | {
    value: f"var(--series-{place})" for place, value in enumerate(SERIES, 1)
}
_COLOUR = re.compile("|".join(_VARIABLES))
_FONT = re.compile(r"font(?:-family)?: [^;]*?(\d+(?:\.\d+)?px)[^;]*|font-family: [^;]*")
_KEPT = {"g", "path", "text", "tspan", "use", "defs", "rect"}
"""Elements of a figure that the page takes over."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One figure: what it shows in words, and how it is drawn."""

    name: str
    """Of its files, and of what links to it: small letters, digits and hyphens."""
    title: str
    note: str
    description: str
    """Everything that it shows, for who cannot see it."""
    draw: Callable[[Axes], None]
    height: float = 2.1
    """Inches."""
    polar: bool = False

    @property
    def inline(self) -> Markup:
        """The figure as an SVG element for the page: its colours are variables, its ids begin with its name."""
        with _styled():
            buffer = io.StringIO()
            self._figure().savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        # S314: matplotlib wrote it a moment ago, and escaped what texts it holds.
        found = Xml.fromstring(buffer.getvalue())  # noqa: S314
        parts = [_element(part, self.name) for part in found]
        labels = f'aria-labelledby="{self.name}-title {self.name}-text"'
        head = f'<title id="{self.name}-title">{_text(self.title)}</title>'
        head += f'<desc id="{self.name}-text">{_text(self.description)}</desc>'
        # S704: every text in it went through `_text`, every attribute through `_attributes`.
        return Markup(f'<svg viewBox="{found.get("viewBox")}" role="img" {labels}>{head}{"".join(parts)}</svg>')  # noqa: S704

    def save(self, folder: Path) -> list[Path]:
        """Writes NAME.svg and NAME.png (200 dots an inch) on white; returns their paths."""
        written = []
        with _styled():
            figure = self._figure()
            figure.suptitle(printable(self.title), fontsize=SMALL)
            for suffix in ("svg", "png"):
                buffer = io.BytesIO()
                metadata = {"Date": None} if suffix == "svg" else {}
                figure.savefig(buffer, format=suffix, dpi=DPI, metadata=metadata)
                written.append(folder / f"{self.name}.{suffix}")
                write_atomic(written[-1], buffer.getvalue())
        return written

    def _figure(self) -> Figure:
        figure = Figure(figsize=(WIDTH, self.height), layout="constrained")
        axes: Any = figure.subplots(subplot_kw={"projection": "polar"} if self.polar else {})
        self.draw(axes)
        return figure


def slug(text: str) -> str:
    """A name for files and links out of any text; two texts may share one."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "figure"


def label(text: str, limit: int = 24) -> str:
    """Generated text as a label: on one line, nothing in it that acts, not longer than `limit`."""
    shown = " ".join(printable(text).split())
    return shown if len(shown) <= limit else shown[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


@contextmanager
def _styled() -> Iterator[None]:
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # In the page the reader's fonts have the letters that matplotlib's lacks.
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def _element(element: Xml.Element, prefix: str) -> str:
    tag = element.tag.rpartition("}")[2]
    if tag not in _KEPT:
        return ""
    inside = "".join(_element(part, prefix) for part in element)
    text = _text(element.text) if tag in ("text", "tspan") and element.text else ""
    if tag in ("g", "defs") and not inside:
        return ""
    return f"<{tag}{_attributes(element, prefix)}>{text}{inside}</{tag}>"


def _attributes(element: Xml.Element, prefix: str) -> str:
    found = []
    for key, value in element.attrib.items():
        name = key.rpartition("}")[2]
        if name == "id":
            # Groups have names only for who edits the file; what is used again needs one.
            if element.tag.endswith("}g"):
                continue
            value = f"{prefix}-{value}"
        elif name == "href":
            value = f"#{prefix}-{value.removeprefix('#')}" if value.startswith("#") else value
        elif name == "clip-path":
            continue
        elif name == "style":
            value = _COLOUR.sub(lambda match: _VARIABLES[match[0]], value)
            value = _FONT.sub(lambda match: f"font-size: {match[1]}" if match[1] else "", value)
        elif name == "d":
            value = " ".join(value.split())
        found.append(f' {name}="{_text(value)}"')
    return "".join(found)


def _text(text: str) -> str:
    return str(Markup.escape(printable(text)))
