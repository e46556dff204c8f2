"""`celeriac index`: no server, one folder."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import servers
from api_server import InProcess

from celeriac.cli_index import started_as


class Notes:
    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder / "My ${Notes}"
        self.folder.mkdir()
        self.cli = InProcess({"CELERIAC_HOME": str(folder / "home"), **environ})
        for number in range(5):
            self.write(number, f"What note{number} says.")

    def write(self, number: int, text: str) -> None:
        (self.folder / f"n{number}.md").write_text(f"# Note {number}\n\n{text}", "utf-8")

    def index(self, *options: str, status: int = 0) -> Any:
        arguments = ("index", str(self.folder), "--model", "stub", *options)
        return self.cli.json(*arguments, status=status)

    def search(self, hint: str, text: str) -> list[Any]:
        """What is found by doing as it says."""
        words = shlex.split(hint)
        variables = dict(word.split("=", 1) for word in words if "=" in word)
        start = words.index("search")
        cli = InProcess({**self.cli.environment, **variables})
        found: list[Any] = cli.json(*words[start:-1], text)["hits"]
        return found


def test_a_folder_is_indexed_searched_and_kept_equal(tmp_path: Path) -> None:
    notes = Notes(tmp_path, {"CELERIAC_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/x"})
    first = notes.index()
    assert (first["job"]["state"], first["job"]["counters"]["indexed"]) == ("succeeded", 5)
    assert {hit["entity_id"] for hit in notes.search(first["search"], "x")} == {
        f"n{number}.md" for number in range(5)
    }
    notes.write(0, "Something else.")
    again = notes.index()
    counters = again["job"]["counters"]
    assert (counters["indexed"], counters["unchanged"]) == (1, 4)

    for number in (1, 2):
        (notes.folder / f"n{number}.md").unlink()
    refused = notes.index(status=3)
    assert "2 of the 5" in refused["job"]["message"]
    assert notes.index("--confirm-removal")["job"]["counters"]["removed"] == 2
    assert len(notes.search(first["search"], "x")) == 3


def test_a_file_that_cannot_be_read_does_not_hide_behind_success(tmp_path: Path) -> None:
    notes = Notes(tmp_path, {})
    (notes.folder / "data.xyz").write_text("?", "utf-8")
    arguments = ("index", str(notes.folder), "--model", "stub")
    said = notes.cli(*arguments).output
    assert "5 of 6 indexed; 1 cannot be, see the errors." in said
    assert "data.xyz: UnreadableDocument" in said
    assert "Search it with" in notes.cli(*arguments, "--strict", status=3).output
    home = tmp_path / "home"
    cli = InProcess(
        {"CELERIAC_HOME": str(home), "CELERIAC_CONFIG": str(home / "indexed.yaml")},
    )
    name = cli.json("jobs")[0]["entity_type"]
    audited = cli("audit", "local", name).output
    assert "The index equals the source but for 1 that cannot be indexed." in audited
    cli("audit", "local", name, "--strict", status=3)
    (notes.folder / "data.xyz").unlink()
    assert notes.index("--strict")["job"]["state"] == "succeeded"


def test_into_a_server_under_a_tenant_of_its_own(
    tmp_path: Path, qdrant_server: servers.QdrantServer
) -> None:
    notes = Notes(tmp_path, {})
    into = ("--into", qdrant_server.url)
    first, second = notes.index(*into), notes.index(*into)
    assert second["job"]["counters"]["unchanged"] == 5
    assert first["search"] == second["search"]
    assert first["job"]["tenant"] != "local"
    assert len(notes.search(first["search"], "x")) == 5
    shown = notes.cli("index", str(notes.folder), "--model", "stub", *into).stdout
    assert "Search it with:" in shown
    assert f"CELERIAC_QDRANT_URL={qdrant_server.url}" in shown


def test_a_plan_says_that_a_reindex_would_fail_and_what_was_meant(tmp_path: Path) -> None:
    records = [{"Title": f"Record {number}", "sku": str(number)} for number in range(12)]
    (tmp_path / "shop.jsonl").write_text("\n".join(map(json.dumps, records)), "utf-8")
    cli = InProcess({"CELERIAC_HOME": str(tmp_path / "home")})
    options = ("--model", "stub", "--id", "sku", "--name", "shop")
    cli("index", str(tmp_path / "shop.jsonl"), *options, "--text-field", "titel", status=3)
    declared = {"CELERIAC_CONFIG": str(tmp_path / "home" / "indexed.yaml"), **cli.environment}
    said = InProcess(declared)("plan", "local", "shop", status=3).output
    assert "A reindex would fail: None of the 12 listed entities can be indexed." in said
    assert "0, 1, 2, 3, 4 and 5 more: EmptyText" in said
    assert "Did you mean 'Title'?" in said
    assert "Nothing is indexed yet" not in said
    wrong_id = ("--text-field", "Title", "--id", "sk", "--name", "shop")
    said = cli("index", str(tmp_path / "shop.jsonl"), "--model", "stub", *wrong_id, status=3).output
    assert "The record has 'Title', 'sku'. Did you mean 'sku'?" in said


def test_records_need_an_id_and_text_fields(tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    records.write_text("".join(json.dumps({"sku": n, "name": f"N {n}"}) + "\n" for n in range(3)))
    cli = InProcess({"CELERIAC_HOME": str(tmp_path / "home")})
    assert "--text-field" in cli("index", str(records), status=2).stderr
    named = ("--into", str(tmp_path / "elsewhere"), "--model", "stub", "--name", "things")
    found = cli.json("index", str(records), "--id", "sku", "--text-field", "name", *named)
    assert found["job"]["counters"]["indexed"] == 3
    assert (tmp_path / "elsewhere" / "catalog.sqlite").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--model", "nothing"], "no embedding model"), (["--name", "A b"], "entity type's name")],
)
def test_what_would_not_be_valid_is_not_kept(tmp_path: Path, options: list[str], said: str) -> None:
    notes = Notes(tmp_path, {})
    assert said in notes.cli.error("index", str(notes.folder), *options)
    assert [one.name for one in (tmp_path / "home").iterdir()] == ["lock"]


def test_the_hint_begins_as_the_command_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "my bin" / "celeriac"
    script.parent.mkdir()
    script.touch(0o755)
    monkeypatch.setattr("sys.argv", [str(script)])
    assert started_as() == f"'{script}'"
    monkeypatch.setenv("PATH", str(script.parent))
    assert started_as() == "celeriac"
    monkeypatch.setattr("sys.argv", ["/somewhere/cli.py"])
    assert started_as().endswith(" -m celeriac.cli")
