"""Text of documents: plain, Markdown, HTML, PDF; DOCX has a file of its own."""

from __future__ import annotations

import contextlib
import io
import sys
import time

import pypdf
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pypdf.generic import DictionaryObject, NameObject, StreamObject

from celeriac.documents import DOCX, ExtractedText, extract_text, media_type_of
from celeriac.errors import UnreadableDocument


def pdf(
    *pages: str, title: str | None = None, password: str | None = None, owner: str = ""
) -> bytes:
    """A PDF whose pages show a line of text each; an empty page has no content at all."""
    writer = pypdf.PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(width=300, height=300)
        if not text:
            continue
        content = StreamObject()
        content.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode("ascii"))
        page[NameObject("/Contents")] = writer._add_object(content)
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    if title:
        writer.add_metadata({"/Title": title})
    if password is not None:
        writer.encrypt(password, owner or None, algorithm="AES-256")
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.txt", "text/plain"),
        ("deep/er/README.MD", "text/markdown"),
        ("a.b.htm", "text/html"),
        ("x.pdf", "application/pdf"),
        ("x.docx", DOCX),
        ("x.doc", None),
        ("pdf", None),
    ],
)
def test_a_name_promises_a_media_type(name: str, media_type: str | None) -> None:
    assert media_type_of(name) == media_type


def test_plain_text_is_kept_with_unix_line_breaks() -> None:
    text = extract_text(b"one\r\ntwo\rthree\n", "text/plain")
    assert text == ExtractedText(None, "one\ntwo\nthree")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(encoding: str) -> None:
    assert extract_text("Köln".encode(encoding), "text/plain").text == "Köln"


def test_the_media_type_tells_the_encoding_before_the_default() -> None:
    content = "Köln".encode("latin-1")
    assert extract_text(content, "text/plain; charset=ISO-8859-1").text == "Köln"
    assert extract_text(content, "text/plain", "cp1252").text == "Köln"


def test_bytes_in_another_encoding_are_an_error_that_says_where() -> None:
    with pytest.raises(UnreadableDocument, match=r"Byte 1 \(0xf6\) is not utf-8; save .* as UTF-8"):
        extract_text("Köln".encode("latin-1"), "text/plain")


def test_an_encoding_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(UnreadableDocument, match="no encoding 'x-nothing'"):
        extract_text(b"a", "text/plain; charset=x-nothing")


def test_another_media_type_is_an_error_that_names_those_that_can_be_read() -> None:
    with pytest.raises(UnreadableDocument, match=r"'image/png'.*application/pdf.*can"):
        extract_text(b"", "image/png")


@pytest.mark.parametrize(
    ("markdown", "title", "text"),
    [
        ("# Celery\n\nA root.", "Celery", "# Celery\n\nA root."),
        ("A root.\n\n## Below", None, "A root.\n\n## Below"),
        ('---\ntitle: "The root"\ntags: [a]\n---\n# Other\nText', "The root", "# Other\nText"),
        ("---\ntags: [a]\n---\n# Other #\nText", "Other", "# Other #\nText"),
        ("---\nnot closed\n# Title", "Title", "---\nnot closed\n# Title"),
        (
            "text\n---\ntitle: no front matter\n---\n",
            None,
            "text\n---\ntitle: no front matter\n---",
        ),
        ("---\n---\nText", None, "Text"),
    ],
)
def test_markdown_is_kept_and_its_title_found(markdown: str, title: str | None, text: str) -> None:
    assert extract_text(markdown.encode(), "text/markdown") == ExtractedText(title, text)


HTML = """<!doctype html><html><head><meta charset="utf-8"><title> Roots &amp;
 tubers </title><style>p > a { color: red }</style><script>if (a < b) { x("</p>") }</script></head>
<body><nav><ul><li>Home</ul></nav><h1>Celeriac</h1><p>A <b>root</b>
vegetable.<p>Peel it,<br>then cut it.<div>One<div>Two</div>Three</div>
<ul><li>raw<li>cooked</ul>
<table><tr><th>part<th>use</tr><tr><td>root<td>soup</tr></table>
<pre>line one
line two</pre><svg><text>drawing</text></svg><!-- a comment <p> -->
it's 3 &lt; 4 &#233; a < b <a title="x > y">link</a><noscript>no script</noscript></body></html>"""


def test_html_becomes_paragraphs() -> None:
    document = extract_text(HTML.encode(), "text/html")
    assert document.title == "Roots & tubers"
    assert document.text.split("\n\n") == [
        "Celeriac",
        "A root vegetable.",
        "Peel it,\nthen cut it.",
        "One",
        "Two",
        "Three",
        "raw\ncooked",
        "part | use\nroot | soup",
        "line one\nline two",
        "it's 3 < 4 é a < b link",
    ]


@pytest.mark.parametrize(
    "declaration",
    ['<meta charset="iso-8859-1">', "<META http-equiv=x content='text/html; charset=latin1'>"],
)
def test_html_may_declare_its_encoding(declaration: str) -> None:
    content = f"<html><head>{declaration}</head><p>Köln".encode("latin-1")
    assert extract_text(content, "text/html").text == "Köln"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("just text", "just text"),
        ("a<script>b", "a"),
        ("a<nav>b", "ab"),
        ("a<nav>b</nav>c", "ac"),
        ("a<svg>b<svg>c</svg>d</svg>e", "ae"),
        ("a<svg/>b", "ab"),
        ("a<!-- b", "a"),
        ("a<!-->b", "ab"),
        ("a<b and then", "a<b and then"),
        ('a<i title="x>b</i>c', "abc"),
        ("</>a</ 1>b<?php c ?>d", "abd"),
        ("1 < 2 <3", "1 < 2 <3"),
        ("a&nbsp;b&unknown;&#" + "9" * 5000 + ";", "a&nbsp;b&unknown;&#" + "9" * 5000 + ";"),
        ("<textarea>a<b></textarea>c", "a<b>c"),
        ("<TITLE>t</TITLE>A<BR>b", "A\nb"),
    ],
)
def test_broken_html_is_read_as_far_as_it_goes(html: str, text: str) -> None:
    assert extract_text(html.encode(), "text/html").text == text


@given(st.text(alphabet="<>/!-'\"= abp&#;\n", max_size=200))
@example("<a '>" * 3)
def test_any_markup_can_be_read(markup: str) -> None:
    extract_text(markup.encode(), "text/html")


@pytest.mark.parametrize(
    "part",
    ["<div>", "<", "<!", "<a ", "<!--", '<a x="', "</a", "<![CDATA[", "<script>", "&", "<nav>",
     "<nav></nav", "<a '>", "<title></title>", "<pre>\n", "<b><p>"],
)  # fmt: skip
def test_the_time_to_read_html_is_linear_in_its_size(part: str) -> None:
    def seconds(repeated: int) -> float:
        content = (part * repeated).encode()
        began = time.process_time()
        extract_text(content, "text/html")
        return time.process_time() - began

    small, large = 2_000, 40_000
    assert seconds(large) < 0.05 + 10 * (large / small) * max(seconds(small), 0.0005)


def test_a_pdf_is_its_pages_texts() -> None:
    document = extract_text(pdf("First page", "", "Third page", title="Roots"), "application/pdf")
    assert document == ExtractedText("Roots", "First page\n\nThird page")


def test_a_pdf_without_a_user_password_can_be_read() -> None:
    content = pdf("Protected from printing", password="", owner="owner")
    assert extract_text(content, "application/pdf").text == "Protected from printing"


def test_an_encrypted_pdf_says_so() -> None:
    with pytest.raises(UnreadableDocument, match=r"encrypted; provide it without a password"):
        extract_text(pdf("Secret", password="pw"), "application/pdf")


def test_a_pdf_of_images_alone_says_what_to_do() -> None:
    with pytest.raises(UnreadableDocument, match=r"no text.*OCR"):
        extract_text(pdf("", ""), "application/pdf")


@pytest.mark.parametrize("content", [b"", b"not a pdf", b"%PDF-1.7\n%%EOF", pdf("Cut off")[:300]])
def test_a_broken_pdf_is_unreadable(content: bytes) -> None:
    with pytest.raises(UnreadableDocument, match=r"^The PDF (is broken|holds no text)"):
        extract_text(content, "application/pdf")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdf", None)  # as if it were not installed
    with pytest.raises(UnreadableDocument, match=r"install celeriac\[files\]"):
        extract_text(WHOLE, "application/pdf")


@given(st.integers(0, 900), st.binary(min_size=1, max_size=8))
def test_a_damaged_pdf_is_read_or_unreadable(position: int, damage: bytes) -> None:
    content = bytearray(WHOLE)
    content[position : position + len(damage)] = damage
    with contextlib.suppress(UnreadableDocument):
        extract_text(bytes(content), "application/pdf")


WHOLE = pdf("One page of text", title="Damaged")
