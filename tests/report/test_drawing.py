"""A figure in the page follows the page; a file of it stands alone; no text in either acts."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as Xml

from matplotlib.axes import Axes
from PIL import Image

from isheep.report.drawing import COLOURS, SERIES, Chart, label, slug
from tests.nasties import HUGE, NASTIES


def chart(text: str, name: str = "one") -> Chart:
    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], "o-", color=COLOURS["main"])
        axes.bar([0], [1], color=SERIES[1])
        axes.set_xlabel(label(text))
        axes.text(0, 0, label(text, 9))

    return Chart(name, text, "", f"It shows {text}.", draw)


def parsed(one: Chart) -> Xml.Element:
    return Xml.fromstring(one.inline)  # noqa: S314  # what is looked at is whether it is safe


def test_colours_are_the_pages_and_letters_the_readers() -> None:
    found = chart("plain").inline
    assert "var(--main)" in found
    assert "var(--series-2)" in found
    assert not re.search(r"#[0-9a-f]{6}", found.replace("one-", ""))
    assert "font-family" not in found
    assert "font-size: 8.5px" in found


def test_ids_are_the_figures_own_and_everything_that_is_used_is_there() -> None:
    ids = [set(re.findall(r'\bid="([^"]+)"', chart("plain", name).inline)) for name in ("one", "two")]
    assert ids[0] & ids[1] == set()
    found = chart("plain").inline
    used = set(re.findall(r'href="#([^"]+)"', found))
    assert used
    assert used <= ids[0]
    assert "url(" not in found


def test_no_text_acts_in_a_figure() -> None:
    allowed = {"svg", "title", "desc", "g", "path", "text", "use", "defs", "tspan"}
    harmless = len(list(parsed(chart("plain")).iter()))
    for nasty in NASTIES:
        if nasty in HUGE:
            continue
        tree = parsed(chart(nasty.text))
        assert {element.tag for element in tree.iter()} <= allowed, nasty.name
        assert len(list(tree.iter())) <= harmless, nasty.name
        assert not [key for element in tree.iter() for key in element.attrib if key.startswith("on")], nasty.name


def test_files_are_vectors_and_pixels_of_the_same(tmp_path: Path) -> None:
    svg, png = chart("plain").save(tmp_path / "figures")
    assert (svg.name, png.name) == ("one.svg", "one.png")
    assert svg.read_text(encoding="utf-8").rstrip().endswith("</svg>")
    with Image.open(png) as image:
        assert image.size == (700, 420)
    again = svg.read_bytes()
    chart("plain").save(tmp_path / "figures")
    assert svg.read_bytes() == again


def test_names_and_labels_of_any_text() -> None:
    assert slug("Größe/../x y") == "gr-e-x-y"
    assert slug("\u202e") == "figure"
    assert label("a\nb\tc") == "a b c"
    assert label("\x1b[2J", 4) == "\\x1\N{HORIZONTAL ELLIPSIS}"
