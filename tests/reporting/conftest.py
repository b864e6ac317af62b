"""A reader of pages that accepts only what every page promises: see `Page`."""

import base64
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

_VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """A page's text, ids, tables and pictures; an assertion fails where it is not sound.

    Sound: tags balance, ids are unique, headings skip no level, header cells have a scope and
    pictures a description, and nothing is fetched or run.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.pictures: list[bytes] = []
        self._open: list[str] = []
        self._heading = 0
        self._words: list[str] = []
        assert text.startswith("<!doctype html>")
        self.feed(text)
        self.close()
        assert not self._open
        assert len(self.ids) == len(set(self.ids))

    @property
    def text(self) -> str:
        """What a reader sees, white space made single."""
        return " ".join("".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag not in ("script", "iframe", "object", "embed", "link")
        assert not any(name.startswith("on") or name in ("href", "srcset") for name in given)
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in _VOID:
            self._open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            assert int(tag[1]) <= self._heading + 1
            self._heading = int(tag[1])
        if tag == "th":
            assert given["scope"] in ("row", "col")
        if tag == "img":
            assert given["alt"]
            self.pictures.append(_decoded(given["src"] or ""))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag in ("td", "th"):
            self.tables[-1][-1][-1] = " ".join(self.tables[-1][-1][-1].split())

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            assert "url(" not in data
            assert "@import" not in data
            return
        self._words.append(data)
        if {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data


def _decoded(source: str) -> bytes:
    """Return the bytes of a picture in a data URI that a browser can show by itself."""
    head, _, content = source.partition(";base64,")
    picture = base64.b64decode(content, validate=True)
    if head == "data:image/png":
        Image.open(io.BytesIO(picture)).load()
    else:
        assert head == "data:image/svg+xml"
        for element in ElementTree.fromstring(picture).iter():
            links = [value for name, value in element.attrib.items() if name.endswith("href")]
            assert all(link.startswith(("#", "data:")) for link in links)
    return picture


@pytest.fixture(scope="session")
def read_page() -> Callable[[Path], Page]:
    return lambda path: Page(path.read_text())
