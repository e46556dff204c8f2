"""What the README shows can be used, and what it and the pages under docs point to is there."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest

from celeriac.settings import Settings

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_its_configuration_is_valid(tmp_path: Path) -> None:
    (written,) = re.findall(r"^ *```yaml\n(.*?)^ *```$", README, re.MULTILINE | re.DOTALL)
    file = tmp_path / "celeriac.yaml"
    file.write_text(dedent(written))

    configuration = Settings.load({"CELERIAC_CONFIG": str(file), "PEOPLE_TOKEN": "x"}).configuration

    assert set(configuration.tenants["acme"].entity_types) >= {"note", "product", "ticket"}


def test_what_to_open_is_there() -> None:
    _, _, table = README.partition("## To change X, open Y")
    table, _, _ = table.partition("\n\nTo work on it")
    cells = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")][1:]
    paths = [path for cell in cells for path in re.findall(r"`([\w./]+/[\w./]*)`", cell)]

    assert paths
    assert [path for path in paths if not found(path)] == []


def found(path: str) -> bool:
    """Of several in a cell, those after the first may begin in the first one's package."""
    return any((folder / path).exists() for folder in (ROOT, ROOT / "src" / "celeriac"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_its_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_its_links_lead_to_headings_that_are_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#\s]*)#([^)\s]+)\)", page.read_text("utf-8"))
    targets = [(page.parent / path if path else page, anchor) for path, anchor in links]

    assert [one for one in targets if one[1] not in anchors(one[0])] == []


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
