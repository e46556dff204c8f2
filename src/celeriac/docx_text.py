"""The text of Word documents (DOCX), strangers' ones too.

python-docx opens the package and finds its parts; the text is read from the elements themselves,
because its paragraphs leave out insertions, content controls and text boxes. What is unpacked is
bounded by counting it, not by what the archive says of itself.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celeriac.errors import UnreadableDocument
from celeriac.text_layout import CELL, LINE, PARAGRAPH, laid_out, without_marks

if TYPE_CHECKING:
    from docx.document import Document

MAX_UNPACKED = 64 * 1024 * 1024
"""Bytes of a document's parts together, unpacked."""
MAX_TAGS = 3_000_000
"""Of its XML, ends of elements included: more than 2,000 pages have, read in seconds."""
MAX_PARTS = 5_000
_STEP = 256 * 1024
"""Bytes that are unpacked at once."""
_OLE = b"\xd0\xcf\x11\xe0"
"""How a document begins that is encrypted, or in the format before DOCX."""

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_TEXTS = {
    f"{_W}t",
    "{http://schemas.openxmlformats.org/officeDocument/2006/math}t",
    "{http://schemas.openxmlformats.org/drawingml/2006/main}t",
}
_LEFT_OUT = {
    *(f"{_W}{name}" for name in ("del", "moveFrom", "rt", "pPr", "rPr", "sectPr")),
    # What older programs show in place of what stands beside it.
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",
}
_CHARACTERS = {f"{_W}tab": " ", f"{_W}noBreakHyphen": "-"}
_BREAKS = {f"{_W}br", f"{_W}cr"}
_PLACES = tuple(f"{_W}{name}" for name in ("p", "tbl", "tr", "tc", "txbxContent"))
_READ = (*_TEXTS, *_LEFT_OUT, *_CHARACTERS, *_BREAKS, *_PLACES)
"""What the text is made of, or what is left out of it; nothing is asked of other elements."""
_TITLES = ("title", "heading 1")
"""Names of the styles whose first paragraph is the title, the better one first."""


def docx_to_text(content: bytes) -> tuple[str | None, str]:
    """The title and the text of a Word document.

    The text is what the headers say, the body, footnotes and endnotes, the footers; deletions that
    are tracked, comments and pictures are left out. An item of a list is a line, and a table's row
    one, its cells separated by ` | `. The title is the document's property, or else its first
    paragraph of the style Title or Heading 1.

    Raises:
        UnreadableDocument: encrypted, no DOCX, broken, too large once it is unpacked, or without
            any text.
        ImportError: python-docx is not installed.
    """
    import docx

    if content.startswith(_OLE):
        raise UnreadableDocument(
            "The document is encrypted, or in the format before DOCX; save it as .docx without a "
            "password."
        )
    try:
        return _read(docx.Document(_repacked(content)))
    except UnreadableDocument:
        raise
    except Exception as error:
        raise UnreadableDocument(
            f"The DOCX is broken ({type(error).__name__}: {error}); open it and save it anew."
        ) from error


def _repacked(content: bytes) -> io.BytesIO:
    """The same parts in an archive that does not compress them, once they are found harmless.

    The libraries below unpack a part at once, as much as it is, whatever size the archive names.
    """
    packed = io.BytesIO()
    left, tags = MAX_UNPACKED, 0
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(packed, "w") as harmless:
        if len(archive.infolist()) > MAX_PARTS:
            raise UnreadableDocument(f"The DOCX has more than {MAX_PARTS} parts.")
        for member in archive.infolist():
            if member.flag_bits & 1:
                raise UnreadableDocument("The DOCX is encrypted; provide it without a password.")
            part = _unpacked(archive, member, left)
            left -= len(part)
            if member.filename.lower().endswith((".xml", ".rels")):
                tags += _tags(part, member.filename)
            if tags > MAX_TAGS:
                raise UnreadableDocument(f"The DOCX has more than {MAX_TAGS} XML tags; divide it.")
            harmless.writestr(member.filename, part)
    packed.seek(0)
    return packed


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int) -> bytes:
    part = bytearray()
    with archive.open(member) as stream:
        while step := stream.read(_STEP):
            part += step
            if len(part) > limit:
                raise UnreadableDocument(
                    f"The DOCX has more than {MAX_UNPACKED} bytes unpacked, which is the most; "
                    "take large pictures out, or divide it."
                )
    return bytes(part)


def _tags(xml: bytes, name: str) -> int:
    # The standard forbids it, and entities that grow or read files begin there.
    if b"<!DOCTYPE" in xml.replace(b"\0", b""):
        raise UnreadableDocument(f"The DOCX is broken: {name} has a DOCTYPE.")
    return xml.count(b"<")


def _read(document: Document) -> tuple[str | None, str]:
    from docx.opc.constants import RELATIONSHIP_TYPE as KIND

    reader = _Reader(_Styles.of(document))
    for kind in (KIND.HEADER, None, KIND.FOOTNOTES, KIND.ENDNOTES, KIND.FOOTER):
        roots = [document.element.body] if kind is None else _related(document, kind)
        for root in roots:
            reader.read(root)
    text = laid_out("".join(reader.parts))
    if not text:
        raise UnreadableDocument("The DOCX holds no text, only pictures perhaps.")
    return _title(document) or reader.title, text


def _related(document: Document, kind: str) -> Iterator[Any]:
    """Parts of this kind, parsed; what repeats another to the letter only once."""
    from docx.oxml import parse_xml

    links = document.part.rels.values()
    parts = [link.target_part for link in links if link.reltype == kind and not link.is_external]
    yield from map(parse_xml, dict.fromkeys(part.blob for part in parts))


def _title(document: Document) -> str | None:
    """The document's property; python-docx makes one up where there are no properties at all."""
    from docx.opc.constants import RELATIONSHIP_TYPE as KIND

    links = document.part.package.rels.values()
    if not any(link.reltype == KIND.CORE_PROPERTIES for link in links):
        return None
    return " ".join(document.core_properties.title.split()) or None


@dataclass(frozen=True, slots=True)
class _Styles:
    """What the styles of paragraphs mean, by their ids."""

    names: dict[str, str]
    lists: set[str]

    @classmethod
    def of(cls, document: Document) -> _Styles:
        names, lists = {}, set()
        for style in document.styles.element.iterchildren(f"{_W}style"):
            id = style.get(f"{_W}styleId", "")
            name = style.find(f"{_W}name")
            names[id] = "" if name is None else name.get(f"{_W}val", "").lower()
            if style.find(f"{_W}pPr/{_W}numPr") is not None:
                lists.add(id)
        return cls(names, lists)


@dataclass
class _Reader:
    styles: _Styles
    parts: list[str] = field(default_factory=list)
    _tables: int = 0
    """How many tables the place is in."""
    _in_list: bool = False
    _titles: dict[str, str] = field(default_factory=dict)
    """The first paragraph of each style that titles have."""

    @property
    def title(self) -> str | None:
        return next((self._titles[name] for name in _TITLES if name in self._titles), None)

    def read(self, root: Any) -> None:
        from lxml import etree

        self._break(PARAGRAPH)
        walk = etree.iterwalk(root, events=("start", "end"), tag=_READ)
        for event, element in walk:
            if event == "end":
                self._end(element)
            elif element.tag in _LEFT_OUT:
                walk.skip_subtree()
            else:
                self._start(element)

    def _start(self, element: Any) -> None:
        tag = element.tag
        if tag in _TEXTS:
            self.parts.append(without_marks(element.text or ""))
        elif tag in _CHARACTERS:
            self.parts.append(_CHARACTERS[tag])
        elif tag in _BREAKS:
            self._break(LINE)
        elif tag == f"{_W}p":
            self._paragraph(element)
        elif tag == f"{_W}tbl":
            self._break(PARAGRAPH)
            self._tables += 1
        elif tag in (f"{_W}tr", f"{_W}tc"):
            self.parts.append(LINE if tag == f"{_W}tr" else CELL)

    def _end(self, element: Any) -> None:
        if element.tag == f"{_W}tbl":
            self._tables -= 1
        if element.tag in (f"{_W}tbl", f"{_W}txbxContent"):
            self._break(PARAGRAPH)

    def _paragraph(self, element: Any) -> None:
        properties = element.find(f"{_W}pPr")
        style, numbered = "", False
        if properties is not None:
            found = properties.find(f"{_W}pStyle")
            style = "" if found is None else found.get(f"{_W}val", "")
            numbered = properties.find(f"{_W}numPr") is not None or style in self.styles.lists
        name = self.styles.names.get(style, "")
        self._break(LINE if numbered and self._in_list else PARAGRAPH)
        self._in_list = numbered
        if name in _TITLES and name not in self._titles:
            text = " ".join("".join(one.text or "" for one in element.iter(f"{_W}t")).split())
            if text:
                self._titles[name] = text

    def _break(self, mark: str) -> None:
        """A row of a table stays one line whatever its cells hold."""
        self.parts.append(" " if self._tables else mark)
        self._in_list = False
