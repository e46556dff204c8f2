"""Documents as text: plain text, Markdown, HTML, PDF and DOCX. No I/O, no network."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING

from celeriac.docx_text import docx_to_text
from celeriac.errors import UnreadableDocument
from celeriac.html_text import html_to_text

if TYPE_CHECKING:
    from pypdf import PdfReader

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
MEDIA_TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".txt": "text/plain",
        ".text": "text/plain",
        ".md": "text/markdown",
        ".markdown": "text/markdown",
        ".html": "text/html",
        ".htm": "text/html",
        ".xhtml": "text/html",
        ".pdf": "application/pdf",
        ".docx": DOCX,
    }
)
"""Media types by file name suffix; these can be read."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins like the UTF-16 one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.I)
_META_REACH = 1024
"""Bytes in which HTML has to declare its encoding."""

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)?(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.S)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.M)
_HEADING = re.compile(r"^#[ \t]+(.+?)[ \t#]*$", re.M)


@dataclass(frozen=True, slots=True)
class ExtractedText:
    """What a document says."""

    title: str | None
    text: str
    """Paragraphs are separated by blank lines, lines by `\\n`; may be empty."""


def media_type_of(name: str) -> str | None:
    """The media type a file's name promises, None where it is none that can be read."""
    return MEDIA_TYPES.get(PurePosixPath(name).suffix.lower())


def extract_text(content: bytes, media_type: str, encoding: str = "utf-8") -> ExtractedText:
    """The text and title of a document.

    Its encoding is, in this order, that of its byte order mark, of the media type's parameter
    `charset`, of HTML's `<meta charset>`, and `encoding`; it is never guessed.

    Raises:
        UnreadableDocument: of another media type, not in its encoding, broken, encrypted, a PDF
            or DOCX without any text, or a DOCX that is too large unpacked.
    """
    header = Message()
    header["Content-Type"] = media_type
    essence = header.get_content_type()
    if essence == "application/pdf":
        return _pdf(content)
    if essence == DOCX:
        return _docx(content)
    reader = _TEXT_READERS.get(essence)
    if reader is None:
        known = ", ".join(sorted(set(MEDIA_TYPES.values())))
        raise UnreadableDocument(f"Documents of type {media_type!r} cannot be read; {known} can.")
    declared = header.get_content_charset() or _meta_charset(content, essence) or encoding
    return reader(_decode(content, declared).replace("\r\n", "\n").replace("\r", "\n"))


def _meta_charset(content: bytes, essence: str) -> str | None:
    if not essence.endswith(("/html", "/xhtml+xml")):
        return None
    found = _META_CHARSET.search(content[:_META_REACH])
    return found[1].decode("ascii", "replace") if found else None


def _decode(content: bytes, encoding: str) -> str:
    for bom, bom_encoding in _BOMS:
        if content.startswith(bom):
            content, encoding = content[len(bom) :], bom_encoding
            break
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableDocument(
            f"Byte {error.start} (0x{content[error.start]:02x}) is not {encoding}; "
            "save the document as UTF-8, or name its encoding."
        ) from None
    except LookupError:
        raise UnreadableDocument(f"There is no encoding {encoding!r}.") from None


def _plain(text: str) -> ExtractedText:
    return ExtractedText(None, text.strip("\n"))


def _markdown(text: str) -> ExtractedText:
    """Markdown as it is, less its front matter; the title is the front matter's, or a heading's."""
    title = None
    if front_matter := _FRONT_MATTER.match(text):
        text = text[front_matter.end() :]
        if declared := _FRONT_TITLE.search(front_matter[1] or ""):
            title = declared[1].strip("\"'").strip() or None
    if title is None and (heading := _HEADING.search(text)):
        title = heading[1].strip() or None
    return ExtractedText(title, text.strip("\n"))


def _html(text: str) -> ExtractedText:
    return ExtractedText(*html_to_text(text))


def _pdf(content: bytes) -> ExtractedText:
    try:
        from pypdf import PdfReader
        from pypdf.errors import DependencyError
    except ImportError as error:
        raise UnreadableDocument("PDFs need pypdf: install celeriac[files].") from error
    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableDocument("The PDF is encrypted; provide it without a password.")
        pages = [text for page in reader.pages if (text := page.extract_text().strip())]
        title = _pdf_title(reader)
    except UnreadableDocument:
        raise
    except DependencyError as error:
        raise UnreadableDocument(f"The PDF is encrypted: {error}") from error
    except Exception as error:
        raise UnreadableDocument(
            f"The PDF is broken ({type(error).__name__}: {error}); open it and save it anew."
        ) from error
    if not pages:
        raise UnreadableDocument(
            "The PDF holds no text, only images perhaps; provide it with a text layer (OCR)."
        )
    return ExtractedText(title, "\n\n".join(pages))


def _pdf_title(reader: PdfReader) -> str | None:
    title = reader.metadata.title if reader.metadata else None
    return title.strip() or None if isinstance(title, str) else None


def _docx(content: bytes) -> ExtractedText:
    try:
        return ExtractedText(*docx_to_text(content))
    except ImportError as error:
        raise UnreadableDocument("DOCX needs python-docx: install celeriac[files].") from error


_TEXT_READERS: Mapping[str, Callable[[str], ExtractedText]] = {
    "text/plain": _plain,
    "text/markdown": _markdown,
    "text/html": _html,
    "application/xhtml+xml": _html,
}
READABLE = frozenset({*MEDIA_TYPES.values(), *_TEXT_READERS})
"""Media types of documents that can be read."""
