"""Text of Word documents."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from docx.document import Document
from docx.opc.constants import CONTENT_TYPE, RELATIONSHIP_TYPE
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from hypothesis import given
from hypothesis import strategies as st
from word_documents import BODY, bomb, edited, lying_bomb, packed, parts, word

from celeriac.documents import DOCX, ExtractedText, extract_text
from celeriac.docx_text import MAX_PARTS, MAX_TAGS, MAX_UNPACKED
from celeriac.errors import UnreadableDocument

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
SMALL = word("One paragraph.")


def text_of(content: bytes) -> str:
    return extract_text(content, DOCX).text


def in_body(xml: str, *paragraphs: str) -> bytes:
    """A document with this in its body, after the paragraphs."""
    return edited(word(*paragraphs), "<w:sectPr", f"{xml}<w:sectPr")


def test_paragraphs_headings_lists_and_tables_are_read_in_their_order() -> None:
    def fill(document: Document) -> None:
        document.core_properties.title = " Roots and\ntubers "
        document.add_heading("Celeriac", 1)
        document.add_paragraph("A root\tvegetable.\nPeel it.")
        document.add_paragraph("raw", style="List Bullet")
        document.add_paragraph("cooked", style="List Bullet")
        table = document.add_table(2, 2)
        for cell, text in zip(table._cells, ("part", "use", "root", ""), strict=True):
            cell.text = text
        table.cell(1, 1).text = "soup"
        table.cell(1, 1).add_paragraph("and salad")
        document.add_paragraph("After the table.")

    document = extract_text(word(make=fill), DOCX)

    assert document.title == "Roots and tubers"
    assert document.text.split("\n\n") == [
        "Celeriac",
        "A root vegetable.\nPeel it.",
        "raw\ncooked",
        "part | use\nroot | soup and salad",
        "After the table.",
    ]


def test_a_table_within_a_cell_is_read_where_it_stands() -> None:
    def fill(document: Document) -> None:
        cell = document.add_table(1, 2).cell(0, 0)
        cell.text = "outer"
        cell.add_table(1, 2).cell(0, 1).text = "inner"
        document.tables[0].cell(0, 1).text = "last"

    assert text_of(word(make=fill)) == "outer\ninner | last"


@pytest.mark.parametrize(("style", "title"), [("Title", "First"), ("Heading 1", "First")])
def test_the_title_is_the_first_heading_where_no_property_says_it(style: str, title: str) -> None:
    def fill(document: Document) -> None:
        document.core_properties.title = ""
        document.add_paragraph("Text")
        document.add_paragraph("First", style=style)
        document.add_paragraph("Second", style=style)

    assert extract_text(word(make=fill), DOCX).title == title


def test_a_document_without_properties_has_no_title_of_the_library() -> None:
    found = parts(SMALL)
    del found["docProps/core.xml"]
    found["_rels/.rels"] = found["_rels/.rels"].replace(b"core-properties", b"nothing")
    found["_rels/.rels"] = found["_rels/.rels"].replace(b"docProps/core.xml", b"docProps/app.xml")
    assert extract_text(packed(found), DOCX) == ExtractedText(None, "One paragraph.")


def test_headers_and_footers_are_read_once() -> None:
    def fill(document: Document) -> None:
        for number in range(2):
            section = document.sections[0] if number == 0 else document.add_section()
            for part in (section.header, section.footer):
                part.is_linked_to_previous = False
            section.header.paragraphs[0].text = "Letterhead"
            section.footer.paragraphs[0].text = f"Footer {number}"

    assert text_of(word("Body", make=fill)) == "Letterhead\n\nBody\n\nFooter 0\n\nFooter 1"


def test_footnotes_follow_the_body() -> None:
    def fill(document: Document) -> None:
        package = document.part.package
        blob = (
            f'<w:footnotes {W}><w:footnote w:id="1"><w:p><w:r><w:t>A note.</w:t></w:r></w:p>'
            "</w:footnote></w:footnotes>"
        ).encode()
        part = Part(PackURI("/word/footnotes.xml"), CONTENT_TYPE.WML_FOOTNOTES, blob, package)
        document.part.relate_to(part, RELATIONSHIP_TYPE.FOOTNOTES)

    assert text_of(word("Body", make=fill)) == "Body\n\nA note."


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ("<w:p><w:ins><w:r><w:t>inserted</w:t></w:r></w:ins></w:p>", "inserted"),
        ("<w:p><w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>", ""),
        ("<w:p><w:moveFrom><w:r><w:t>gone</w:t></w:r></w:moveFrom></w:p>", ""),
        ("<w:p><w:hyperlink><w:r><w:t>link</w:t></w:r></w:hyperlink></w:p>", "link"),
        ("<w:sdt><w:sdtContent><w:p><w:r><w:t>control</w:t></w:r></w:p></w:sdtContent></w:sdt>",
         "control"),
        ("<w:p><w:r><w:t>well</w:t><w:noBreakHyphen/><w:t>known</w:t></w:r></w:p>", "well-known"),
        ("<w:p><w:r><w:instrText>PAGE</w:instrText></w:r></w:p>", ""),
        ("<w:p><w:r><w:t>a</w:t><w:pict><w:txbxContent><w:p><w:r><w:t>box</w:t></w:r></w:p>"
         "</w:txbxContent></w:pict><w:t>b</w:t></w:r></w:p>", "a\n\nbox\n\nb"),
    ],
)  # fmt: skip
def test_what_stands_within_a_paragraph_is_read(xml: str, text: str) -> None:
    assert text_of(in_body(xml, "Before")) == f"Before\n\n{text}".strip()


def test_a_document_without_text_says_so() -> None:
    with pytest.raises(UnreadableDocument, match="holds no text"):
        text_of(word(""))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a zip",
        SMALL[: len(SMALL) // 2],
        packed({}),
        packed({"a.txt": b"a zip of something else"}),
        packed({**parts(SMALL), BODY: b"<w:document"}),
        packed({**parts(SMALL), "[Content_Types].xml": b""}),
        packed({name: part for name, part in parts(SMALL).items() if name != BODY}),
        packed({**parts(SMALL), BODY: b"<a>" * 100_000}),
    ],
)
def test_a_broken_document_is_unreadable(content: bytes) -> None:
    with pytest.raises(UnreadableDocument, match=r"^The DOCX is broken .*save it anew"):
        text_of(content)


def test_an_encrypted_document_says_so() -> None:
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000)
    with pytest.raises(UnreadableDocument, match=r"encrypted.*without a password"):
        text_of(ole)


def test_an_encrypted_archive_says_so() -> None:
    content = bytearray(SMALL)
    content[content.index(b"PK\1\2") + 8] |= 1
    with pytest.raises(UnreadableDocument, match=r"encrypted; provide it without a password"):
        text_of(bytes(content))


@pytest.mark.parametrize(
    "content",
    [
        bomb(MAX_UNPACKED + 1),
        packed({f"{n}.xml": b"" for n in range(MAX_PARTS + 1)}),
        packed({**parts(SMALL), BODY: b"<w:p/>" * (MAX_TAGS + 1)}),
    ],
)
def test_what_is_too_large_unpacked_is_refused(content: bytes) -> None:
    with pytest.raises(
        UnreadableDocument, match=rf"more than ({MAX_UNPACKED}|{MAX_PARTS}|{MAX_TAGS}) "
    ):
        text_of(content)


def test_a_bomb_is_not_unpacked_whatever_size_it_names(tmp_path: Path) -> None:
    path = tmp_path / "bomb.docx"
    path.write_bytes(lying_bomb(512 << 20, declared=10))
    limit = 400 << 20
    script = (
        "import sys, resource; from pathlib import Path;"
        "import docx;"
        "from celeriac.documents import DOCX, extract_text;"
        f"resource.setrlimit(resource.RLIMIT_DATA, ({limit}, {limit}));"
        "print(extract_text(Path(sys.argv[1]).read_bytes(), DOCX).text)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    assert answer.stdout.strip() == "harmless", answer.stderr[-500:]


ENTITIES = {
    "grows": '<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY e "&a;&a;&a;">]>',
    "reads a file": '<!DOCTYPE d [<!ENTITY e SYSTEM "file:///etc/hostname">]>',
    "asks a server": '<!DOCTYPE d [<!ENTITY e SYSTEM "http://127.0.0.1:9/">]>',
    "is a subset elsewhere": '<!DOCTYPE d SYSTEM "http://127.0.0.1:9/dtd">',
}


@pytest.mark.parametrize("doctype", ENTITIES.values(), ids=list(ENTITIES))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("name", [BODY, "word/_rels/document.xml.rels", "[Content_Types].xml"])
def test_entities_are_neither_expanded_nor_fetched(doctype: str, encoding: str, name: str) -> None:
    whole = parts(in_body("<w:p><w:r><w:t>&e;</w:t></w:r></w:p>")) if name == BODY else parts(SMALL)
    declaration, _, rest = whole[name].decode().partition("?>")
    text = f"{declaration.replace('UTF-8', encoding)}?>{doctype}{rest}"
    with pytest.raises(UnreadableDocument, match=r"broken.*DOCTYPE"):
        text_of(packed({**whole, name: text.encode(encoding)}))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docx", None)  # as if it were not installed
    with pytest.raises(UnreadableDocument, match=r"install celeriac\[files\]"):
        text_of(SMALL)


@given(st.integers(0, len(SMALL)), st.binary(min_size=1, max_size=8))
def test_a_damaged_document_is_read_or_unreadable(position: int, damage: bytes) -> None:
    content = bytearray(SMALL)
    content[position : position + len(damage)] = damage
    with contextlib.suppress(UnreadableDocument):
        text_of(bytes(content))


@given(st.binary(min_size=1, max_size=8), st.integers(0, 2000))
def test_damaged_xml_is_read_or_unreadable(damage: bytes, position: int) -> None:
    whole = parts(SMALL)
    body = bytearray(whole[BODY])
    body[position : position + len(damage)] = damage
    with contextlib.suppress(UnreadableDocument):
        text_of(packed({**whole, BODY: bytes(body)}))
