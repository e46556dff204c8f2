"""Word documents, good and hostile, made as they are needed."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Mapping

import docx
from docx.document import Document

BODY = "word/document.xml"


def word(*paragraphs: str, make: Callable[[Document], None] | None = None) -> bytes:
    """A document of these paragraphs, and of what `make` adds to them."""
    document = docx.Document()
    for text in paragraphs:
        document.add_paragraph(text)
    if make is not None:
        make(document)
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def parts(content: bytes) -> dict[str, bytes]:
    """The parts of a document by their names."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(content: Mapping[str, bytes]) -> bytes:
    """A document of these parts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in content.items():
            archive.writestr(name, part)
    return buffer.getvalue()


def edited(content: bytes, old: str, new: str, name: str = BODY) -> bytes:
    """The document with something else in one of its parts."""
    found = parts(content)
    text = found[name].decode()
    assert old in text
    return packed({**found, name: text.replace(old, new, 1).encode()})


def bomb(unpacked: int) -> bytes:
    """A document with a part of so many zeros: about a thousandth of it, packed."""
    return packed({**parts(word("harmless")), "word/media/image1.png": bytes(unpacked)})


def lying_bomb(unpacked: int, declared: int) -> bytes:
    """The same, with a size and a checksum in the archive that say it were small."""
    honest = bytearray(bomb(unpacked))
    small = zipfile.crc32(bytes(declared))
    for signature, crc, size in ((b"PK\3\4", 14, 22), (b"PK\1\2", 16, 24)):
        at = honest.rindex(signature)
        assert b"image1.png" in honest[at : at + 100]
        honest[at + crc : at + crc + 4] = struct.pack("<I", small)
        honest[at + size : at + size + 4] = struct.pack("<I", declared)
    return bytes(honest)
