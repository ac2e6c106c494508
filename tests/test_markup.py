"""Texts in Markdown: whatever they hold, a reader sees text, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import Environment
from markdown_it import MarkdownIt

from isheep.markup import markdown_templates
from isheep.terminal import is_hidden, printable
from tests.nasties import NASTIES, Nasty

READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
each = pytest.mark.parametrize("nasty", NASTIES, ids=lambda nasty: nasty.name)


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("templates")
    (folder / "line").write_text("* {{ text }}\n")
    (folder / "paragraph").write_text("before\n{{ text }}\nafter\n")
    (folder / "code").write_text("say {{ text | code }} aloud\n")
    (folder / "cell").write_text("| a | b |\n|---|---|\n| {{ text | cell }} | {{ text }} |\n")
    (folder / "fenced").write_text("{{ text | fenced }}\n\nafter\n")
    return markdown_templates(folder)


def shown(text: str) -> str:
    """In one line, as a reader collapses it."""
    return " ".join(printable(text).split())


def pieces(markdown: str) -> list[tuple[str, str]]:
    """(Kind, content) of all that a reader makes of it, in its order."""
    found = []
    for token in READER.parse(markdown):
        inner = token.children if token.type == "inline" else [token]
        found += [(one.type, one.content) for one in inner or []]
    return found


def words(found: list[tuple[str, str]]) -> str:
    """Neighbouring texts are one text."""
    return "".join(content if kind == "text" else " " for kind, content in found)


@each
def test_a_text_is_a_text(nasty: Nasty, cards: Environment) -> None:
    text = shown(nasty.text)
    for name, around in (("line", "{}"), ("paragraph", "before {} after")):
        written = cards.get_template(name).render(text=nasty.text)
        assert not any(map(is_hidden, written))
        found = pieces(written)
        assert {kind for kind, _ in found} <= {
            "bullet_list_open", "list_item_open", "paragraph_open", "text", "softbreak", "paragraph_close",
            "list_item_close", "bullet_list_close",
        }  # fmt: skip
        assert words(found).split() == around.format(text).split()
        # What makes links of bare addresses looks at the source.
        assert not any(mark in written for mark in ("://", "www.", "@", "<", "$", "~~"))


@each
def test_a_text_in_code_is_code(nasty: Nasty, cards: Environment) -> None:
    text = shown(nasty.text)
    written = cards.get_template("code").render(text=nasty.text)
    inline = [(kind, content) for kind, content in pieces(written) if kind not in ("paragraph_open", "paragraph_close")]
    assert inline == [("text", "say "), ("code_inline", text or " "), ("text", " aloud")]


@each
def test_a_text_in_a_cell_leaves_no_cell(nasty: Nasty, cards: Environment) -> None:
    found = pieces(cards.get_template("cell").render(text=nasty.text))
    kinds = [kind for kind, _ in found]
    assert kinds.count("td_open") == 2
    assert kinds.count("tr_open") == 2
    assert [content for kind, content in found if kind == "code_inline"] == [shown(nasty.text) or " "]
    assert {kind for kind in kinds if kind.startswith(("html", "link", "image", "em", "strong", "s_"))} == set()


@each
def test_a_text_in_a_fence_stays_in_it(nasty: Nasty, cards: Environment) -> None:
    found = pieces(cards.get_template("fenced").render(text=nasty.text))
    assert [kind for kind, _ in found] == ["fence", "paragraph_open", "text", "paragraph_close"]
    assert found[0][1].rstrip("\n") == printable(nasty.text).rstrip()
    assert found[2][1] == "after"


def test_nothing_is_printed_of_what_a_template_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("{{ txet }}")
    with pytest.raises(Exception, match="txet"):
        markdown_templates(tmp_path).get_template("wrong").render(text="x")
