"""What `make bench` measured, as the Markdown that README.md and docs/performance.md show.

Everything is made of the figures as they are kept in benchmarks/results/, so that the tables of an
earlier run can be made again.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Found = Mapping[str, Any]
Row = Sequence[object]

OURS, OURS_INT8, MODEL_ALONE, LANGCHAIN = (
    *("celeriac", "celeriac-int8", "sentence-transformers", "langchain"),
)
NAMES = {
    OURS: "celeriac, float32",
    OURS_INT8: "celeriac, int8",
    MODEL_ALONE: "sentence-transformers alone",
    LANGCHAIN: "LangChain `index()`",
    "llamaindex": "LlamaIndex `IngestionPipeline`",
}
FULL, AGAIN, FULL_ALL, AGAIN_ALL = "full", "unchanged", "full, all", "unchanged, all"
EDITED_ALL = "one changed, all"
TARGETS = (
    (FULL, OURS, LANGCHAIN, 1.35),
    (FULL, OURS, MODEL_ALONE, 1.35),
    (FULL, OURS_INT8, LANGCHAIN, 1.9),
    (AGAIN_ALL, OURS, LANGCHAIN, 10),
)
"""How many times as fast as another one a system is to be."""
WHAT = {
    FULL: "a full index",
    AGAIN: "an unchanged reindex",
    FULL_ALL: "a full index of all",
    AGAIN_ALL: "an unchanged reindex of all",
    EDITED_ALL: "a reindex of all, one of them changed",
}
START, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
PAGES = ("README.md", "docs/performance.md")


def page(found: Found) -> str:
    """Everything, for docs/performance.md."""
    parts = [setting(found), full(found), unchanged(found), targets(found), profile(found)]
    return "\n\n".join([*filter(None, parts), *lacking(found)])


def summary(found: Found) -> str:
    """What the README shows."""
    rows = [
        [
            NAMES[label],
            rate(found, FULL, label, found["chunks"]),
            beside(found, FULL, label, LANGCHAIN, rounds=False),
            rate(found, AGAIN_ALL, label, found["entities"][FULL_ALL]),
            beside(found, AGAIN_ALL, label, LANGCHAIN, rounds=False),
        ]
        for label in labels(found)
    ]
    heads = ["", "chunks/s", "beside LangChain", "unchanged entities/s", "beside LangChain"]
    said = (
        f"`make bench` on {found['date']}, {machine(found)}: all-MiniLM-L6-v2 on the CPU, one "
        f"Qdrant server, chunks of 128 tokens, the systems in turn; medians, and of each round's "
        f"ratio."
    )
    return f"{said}\n\n{markdown(heads, rows)}"


def setting(found: Found) -> str:
    """What the figures depend on."""
    versions = {
        name: one
        for about in found["about"].values()
        for name, one in {**about["versions"], "torch": found["torch"]}.items()
    }
    return (
        f"One run on {found['date']}: {machine(found)} ({found['instructions']}), load "
        f"{found['load']:.1f} when it began and {found['load_at_end']:.1f} at its end; "
        f"{', '.join(f'{name} {one}' for name, one in versions.items())}."
    )


def machine(found: Found) -> str:
    return f"{found['cpus']} CPUs ({found['processor']})"


def full(found: Found) -> str:
    """Indexing from nothing."""
    ceiling = statistics.median(found["ceiling_tokens_per_second"])
    rows: list[Row] = []
    for label in labels(found):
        seconds = median(found, FULL, label)
        speed = found["tokens"] / seconds if seconds else None
        cells = (f"{speed:,.0f}", f"{speed / ceiling:.2f}") if speed else ("", "")
        rows.append(
            [
                NAMES[label],
                *(number(seconds), *cells),
                beside(found, FULL, label, MODEL_ALONE),
                beside(found, FULL, label, LANGCHAIN),
                *(number(median(found, FULL, label, "cpu")), whole(found, FULL, label, "peak_mb")),
                number(median(found, FULL_ALL, label)),
            ]
        )
    rate_of_products = statistics.median(found["ceiling_gflop_per_second"])
    rows.append([f"float32 ceiling, {rate_of_products:.0f} GFLOP/s", "", f"{ceiling:,.0f}", "1"])
    heads = [
        *("", "seconds", "tokens/s", "of the ceiling", "beside sentence-transformers"),
        *("beside LangChain", "CPU-s", "MB", f"all {found['entities'][FULL_ALL]:,}, s"),
    ]
    return (
        f"A full index of {found['entities'][FULL]:,} documents, {found['chunks']:,} chunks, "
        f'{found["tokens"]:,} model tokens; "beside" is how many times as fast, each round in '
        f"brackets. All {found['entities'][FULL_ALL]:,} documents are indexed once.\n\n"
        f"{markdown(heads, rows)}"
    )


def unchanged(found: Found) -> str:
    """Indexing again what did not change."""
    some, everything = found["entities"][FULL], found["entities"][FULL_ALL]
    rows: list[Row] = []
    for label in labels(found):
        few, all_ = median(found, AGAIN, label), median(found, AGAIN_ALL, label)
        if few is None and all_ is None:
            continue
        more = everything - some
        further = (
            f"{(all_ - few) / more * 1000:.2f}" if few and all_ and all_ > few and more > 0 else ""
        )
        rows.append(
            [
                NAMES[label],
                *(number(few), number(all_)),
                f"{all_ / everything * 1000:.2f}" if all_ else "",
                further,
                number(median(found, EDITED_ALL, label)),
                beside(found, AGAIN, label, LANGCHAIN),
                beside(found, AGAIN_ALL, label, LANGCHAIN),
                beside(found, EDITED_ALL, label, LANGCHAIN),
            ]
        )
    if not rows:
        return ""
    points = median(found, FULL_ALL, OURS, "points")
    each = f", {points / everything:.1f} chunks each" if points else ""
    heads = [
        *("", f"{some:,}, s", f"{everything:,}, s", "ms each", "ms each further one"),
        f"{everything:,}, one changed, s",
        *(f"{some:,} beside LangChain", f"{everything:,} beside LangChain"),
        "one changed, beside LangChain",
    ]
    return (
        f"An unchanged reindex of those documents, and of all {everything:,}{each}; and one of "
        "all after one document was given another title:\n\n"
        f"{markdown(heads, rows)}"
    )


def targets(found: Found) -> str:
    """What was wanted, and what came out."""
    rows = [
        [
            f"{NAMES[label]}: {WHAT[what]}, beside {NAMES[other]}",
            f"{wanted:g}",
            number(ratio, digits=2),
            "yes" if ratio >= wanted else "no",
        ]
        for what, label, other, wanted in TARGETS
        if (ratio := typical(ratios(found, what, label, other))) is not None
    ]
    return markdown(["", "wanted", "came out", "met"], rows) if rows else ""


def profile(found: Found) -> str:
    """Where the time of one run goes."""
    runs = {what: one for what, one in found["profile"].items() if one["stages"]}
    if not runs:
        return ""
    heads = [f"{WHAT[what]}, {kind}" for what in runs for kind in ("clock", "processor")]
    stages = dict.fromkeys(stage for one in runs.values() for stage in one["stages"])
    rows = [
        [stage, *(f"{part:.2f}" for one in runs.values() for part in one["stages"].get(stage, ()))]
        for stage in stages
    ]
    whole_run = [
        number(one[part], digits=2) for one in runs.values() for part in ("seconds", "cpu")
    ]
    rows.append(["the whole run", *whole_run])
    return (
        "One more run of celeriac, in its stages: seconds added up over its four threads, by the "
        "clock, waiting included, and of those threads' processor time.\n\n"
        f"{markdown(['', *heads], rows)}"
    )


def lacking(found: Found) -> Iterator[str]:
    """What is missing or wrong, a line each."""
    for what, rounds in found["rounds"].items():
        for label in labels(found):
            came = [one for one in found["runs"] if (one["what"], one["label"]) == (what, label)]
            if came and len(came) < rounds:
                yield f"Missing: {rounds - len(came)} of {rounds} rounds, {what}, {NAMES[label]}."
    for one in found["runs"]:
        if one["wrong"]:
            yield f"Wrong: {one['what']}, {NAMES[one['label']]}: {one['wrong']}."
    for trouble in found["troubles"]:
        yield f"Not measured: {trouble}."


def labels(found: Found) -> list[str]:
    present = {one["label"] for one in found["runs"]}
    return [label for label in NAMES if label in present]


def rounds_of(found: Found, what: str, label: str, part: str) -> dict[int, float]:
    return {
        one["round"]: one[part]
        for one in found["runs"]
        if (one["what"], one["label"]) == (what, label) and not one["wrong"]
    }


def ratios(found: Found, what: str, label: str, other: str) -> list[float]:
    """How many times as fast as the other one, by round."""
    mine, others = (rounds_of(found, what, one, "seconds") for one in (label, other))
    return [others[one] / seconds for one, seconds in mine.items() if one in others]


def typical(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def median(found: Found, what: str, label: str, part: str = "seconds") -> float | None:
    return typical(list(rounds_of(found, what, label, part).values()))


def rate(found: Found, what: str, label: str, items: int) -> str:
    seconds = median(found, what, label)
    return f"{items / seconds:,.0f}" if seconds else ""


def whole(found: Found, what: str, label: str, part: str) -> str:
    value = median(found, what, label, part)
    return "" if value is None else f"{value:,.0f}"


def number(value: float | None, digits: int = 1) -> str:
    """With a digit more where it is small."""
    return "" if value is None else f"{value:.{digits if value >= 10 else max(digits, 2)}f}"


def beside(found: Found, what: str, label: str, other: str, *, rounds: bool = True) -> str:
    each = ratios(found, what, label, other)
    if not each:
        return ""
    told = f"{statistics.median(each):.2f}"
    if label == other:
        return "1"
    return f"{told} ({', '.join(f'{one:.2f}' for one in each)})" if rounds else told


def markdown(heads: Sequence[str], rows: Sequence[Row]) -> str:
    """A table; rows may be short."""
    lines = [heads, ["---"] * len(heads)]
    lines += [[*map(str, row), *[""] * (len(heads) - len(row))] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(found: Found, root: Path) -> None:
    """Put the tables between the marks in README.md and docs/performance.md."""
    for name, text in zip(PAGES, (summary(found), page(found)), strict=True):
        path = root / name
        path.write_text(spliced(path.read_text("utf-8"), text), encoding="utf-8")


def spliced(page_text: str, text: str) -> str:
    """The page with this text between its marks.

    Raises:
        ValueError: the page does not have both of them.
    """
    before, begin, rest = page_text.partition(START)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page lacks {START} or {END}")
    return f"{before}{START}\n{text}\n{END}{after}"
