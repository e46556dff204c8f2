"""Text of documents with marks at its breaks, laid out: what readers of markup share."""

from __future__ import annotations

PARAGRAPH, LINE, CELL = "\x1c", "\x1d", "\x1e"
"""What begins a paragraph, a line, a cell of a table's row."""
_NO_MARKS = dict.fromkeys(map(ord, (PARAGRAPH, LINE, CELL)))


def without_marks(text: str) -> str:
    """A stranger's text, in which a mark would be a break that is none."""
    return text.translate(_NO_MARKS)


def laid_out(marked: str) -> str:
    """The text, its white space collapsed as in a browser.

    Paragraphs are separated by blank lines, lines by `\\n`, cells by ` | `; the empty ones are left
    out.
    """
    paragraphs = []
    for paragraph in marked.split(PARAGRAPH):
        rows = (_row(row) for row in paragraph.split(LINE))
        if lines := [row for row in rows if row]:
            paragraphs.append("\n".join(lines))
    return "\n\n".join(paragraphs)


def _row(row: str) -> str:
    cells = (" ".join(cell.split()) for cell in row.split(CELL))
    return " | ".join(cell for cell in cells if cell)
