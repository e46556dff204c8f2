"""`celeriac capacity --of`: what past jobs reached comes before what was measured elsewhere."""

from __future__ import annotations

from pathlib import Path

from api_server import InProcess


def test_past_jobs_say_how_fast_it_is_here(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    for number in range(5):
        (notes / f"n{number}.md").write_text(f"# Note {number}\n\nWhat it says.", "utf-8")
    home = tmp_path / "home"
    cli = InProcess({"CELERIAC_HOME": str(home)})
    cli.json("index", str(notes), "--model", "stub")
    declared = InProcess(
        {"CELERIAC_HOME": str(home), "CELERIAC_CONFIG": str(home / "indexed.yaml")}
    )

    found = declared.json("capacity", "--of", "local", "notes")

    (rate,) = [one["rate"] for one in found["times"]]
    assert rate["where"] == "this installation as it is, by 1 jobs of local/notes"
    assert rate["tokens_per_second"] > 0
    assert found["texts"]["entities"] == 5
    assert declared.json("capacity", "--of", "local", "notes", "--model", "all-minilm-l6-v2")[
        "times"
    ][0]["rate"]["where"].startswith("a worker on 2 cores")
