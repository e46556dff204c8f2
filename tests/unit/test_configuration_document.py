"""YAML becomes plain data that knows its lines; complaints do not quote the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.configuration.document import Document, read_document
from celeriac.configuration.expansion import expand
from celeriac.errors import ConfigurationError

SECRET = "hunter2"
ENVIRON = {"NAME": "value", "EMPTY": "", "SECRET": SECRET, "NESTED": "${NAME}", "YAML": "a: [1"}


def read(folder: Path, text: str) -> Document:
    file = folder / "c.yaml"
    file.write_text(text, "utf-8")
    return read_document(file, ENVIRON)


def described(document: Document) -> list[str]:
    return [problem.describe(Path("c.yaml")) for problem in document.problems]


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(folder, text)
    return str(caught.value).removeprefix(f"{folder}/")


def test_each_key_and_item_has_its_line(tmp_path: Path) -> None:
    document = read(
        tmp_path, "# a comment\na:\n  b: 1\n  c:\n    - x\n    - {d: 2, e: 3}\nf: |\n  g\n"
    )

    assert document.data == {"a": {"b": 1, "c": ["x", {"d": 2, "e": 3}]}, "f": "g\n"}
    assert document.lines == {
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "c"): 4,
        ("a", "c", 0): 5,
        ("a", "c", 1): 6,
        ("a", "c", 1, "d"): 6,
        ("a", "c", 1, "e"): 6,
        ("f",): 7,
    }
    assert document.line(("a", "c", 1, "missing", "deeper")) == 6
    assert document.line(("elsewhere",)) == 1


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("On", "On"),
        ("2025-11-21", "2025-11-21"),
        ("12:30:45", "12:30:45"),
        ("007", "007"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("0 3 * * *", "0 3 * * *"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("'12'", "12"),
        ("!!str 12", "12"),
    ],
)
def test_plain_scalars_are_what_yaml_1_2_says(tmp_path: Path, written: str, value: Any) -> None:
    document = read(tmp_path, f"a: {written}\n")

    assert document.data == {"a": value}
    assert type(document.data["a"]) is type(value)
    assert not document.problems


def test_keys_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    assert read(tmp_path, "1: a\nno: b\ntrue: c\n").data == {"1": "a", "no": "b", "true": "c"}


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "# nothing yet\n").data is None


def test_a_byte_order_mark_is_not_content(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeffa: 1\n").data == {"a": 1}


def test_anchors_and_merge_keys_share_options(tmp_path: Path) -> None:
    document = read(
        tmp_path,
        "base: &base {kind: rest, size: 10}\n"
        "a: {<<: *base, size: 20}\n"
        "b: *base\n"
        "c: {x: &own {<<: *base, size: 30}, y: {<<: *own}, <<: {z: 1}}\n",
    )

    assert not document.problems
    assert document.data["a"] == {"kind": "rest", "size": 20}
    assert document.data["b"] == {"kind": "rest", "size": 10}
    assert document.data["c"] == {
        "z": 1,
        "x": {"kind": "rest", "size": 30},
        "y": {"kind": "rest", "size": 30},
    }
    assert document.line(("a", "kind")) == 1
    assert document.line(("a", "size")) == 2


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("a: 1\nb: 2\na: 3\n", ["c.yaml:3: a: 'a' is written twice, first on line 1"]),
        ("a: {b: 1, b: 2}\n", ["c.yaml:1: a.b: 'b' is written twice, first on line 1"]),
        ("- a: 1\n  'a': 2\n", ["c.yaml:2: [0].a: 'a' is written twice, first on line 1"]),
        ("a: &x {b: 1, b: 2}\nc: *x\n", ["c.yaml:1: a.b: 'b' is written twice, first on line 1"]),
        (
            "a: {{ name }}\n",
            ["c.yaml:1: a: a key must be text; put a value that starts with { or [ in quotes"],
        ),
        (
            f"a: !{SECRET} b\n",
            ["c.yaml:1: a: has a tag; put a value that starts with ! in quotes"],
        ),
        (
            "a: !!python/object/apply:os.system [true]\n",
            ["c.yaml:1: a: has a tag; put a value that starts with ! in quotes"],
        ),
        ("a: !!int x\n", ["c.yaml:1: a: is not of the type int"]),
        (
            "a:\n  <<: text\n",
            ["c.yaml:1: a: '<<' takes an alias of a finished mapping, or a list of them"],
        ),
        (
            "a:\n  b: ${UNSET_X} and ${EMPTY}\n",
            [
                "c.yaml:2: a.b: the environment variable UNSET_X is not set; "
                "set it, or write ${UNSET_X:-default}",
                "c.yaml:2: a.b: the environment variable EMPTY is not set; "
                "set it, or write ${EMPTY:-default}",
            ],
        ),
        (
            "a: ${NAME\n",
            ["c.yaml:1: a: '${' takes a variable's name and '}'; write '$${' for the text"],
        ),
        (
            "a: ${no-name}\n",
            ["c.yaml:1: a: '${' takes a variable's name and '}'; write '$${' for the text"],
        ),
    ],
)
def test_what_can_be_read_around_is_a_problem(
    tmp_path: Path, text: str, problems: list[str]
) -> None:
    assert described(read(tmp_path, text)) == problems


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: 1\nb: {c: ${NAME}}\n",
            "c.yaml:2: invalid YAML: expected ',' or '}', but got '{'; "
            'inside { } and [ ], put a reference in quotes: "${NAME}"',
        ),
        (
            f"a:\n  password: *{SECRET}\n",
            "c.yaml:2: invalid YAML: found undefined alias; "
            "put a value that starts with *, &, %, @ or ` in quotes",
        ),
        (
            f"a: &{SECRET} 1\nb: &{SECRET} 2\n",
            "c.yaml:2: invalid YAML: found duplicate anchor; first occurrence, second occurrence",
        ),
        (f"a: !x!{SECRET} 1\n", "c.yaml:1: invalid YAML: found undefined tag handle"),
        (
            f"password: @{SECRET}\n",
            "c.yaml:1: invalid YAML: found character '@' that cannot start any token; "
            "put a value that starts with *, &, %, @ or ` in quotes",
        ),
        (
            "a: b: c\n",
            "c.yaml:1: invalid YAML: mapping values are not allowed here; "
            "put a value that holds ': ' in quotes",
        ),
        (
            "a:\n\tb: 1\n",
            "c.yaml:2: invalid YAML: found character '\\t' that cannot start any token; "
            "indent with spaces, not tabs",
        ),
        ("a: 1\nb: 'c\nd: 2\n", "c.yaml:2: invalid YAML: found unexpected end of stream"),
        (
            "a: 1\n---\nb: 2\n",
            "c.yaml:2: invalid YAML: expected a single document in the stream, "
            "but found another document",
        ),
        ("a: 1\nb: \x01\n", "c.yaml:2: invalid YAML: a control character"),
        ("a: &x [1, *x]\n", "c.yaml:1: a[1]: is an alias of something around it"),
        ("[" * 5000, "c.yaml:1: is nested too deeply"),
    ],
)
def test_what_is_not_yaml_is_an_error_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    assert complaint(tmp_path, text) == message


def test_aliases_cannot_stand_for_a_billion_values(tmp_path: Path) -> None:
    lines = ["a0: &a0 [" + ", ".join("x" * 10) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 9)]

    assert "holds more than 100,000 values" in complaint(tmp_path, "\n".join(lines))


def test_text_that_is_not_utf8_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")

    with pytest.raises(ConfigurationError, match=r"c\.yaml:2: is not UTF-8 text"):
        read_document(tmp_path / "c.yaml", {})


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_names_the_variable(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read .*; CELERIAC_CONFIG must name"):
        read_document(tmp_path / name, {})


@pytest.mark.parametrize(
    ("written", "expanded"),
    [
        ("${NAME}", "value"),
        ("a ${NAME} b ${NAME}", "a value b value"),
        ("${NAME:-other}", "value"),
        ("${EMPTY:-other}", "other"),
        ("${UNSET_X:-a:-b $ {}", "a:-b $ {"),
        ("${UNSET_X:-}", ""),
        ("$${NAME}", "${NAME}"),
        ("$$${NAME}", "$${NAME}"),
        ("$NAME $ {NAME} $$", "$NAME $ {NAME} $$"),
        ("${NESTED}", "${NAME}"),
    ],
)
def test_references_are_replaced(written: str, expanded: str) -> None:
    expansion = expand(written, ENVIRON)

    assert expansion.text == expanded
    assert not expansion.missing
    assert not expansion.malformed


def test_a_value_of_the_environment_is_text_and_never_yaml(tmp_path: Path) -> None:
    document = read(tmp_path, 'a: ${YAML}\nb: ["${NUMBER:-5}"]\nc: |\n  ${NAME}\n')

    assert document.data == {"a": "a: [1", "b": ["5"], "c": "value\n"}
    assert document.written == {("a",): "${YAML}", ("b", 0): "${NUMBER:-5}", ("c",): "${NAME}\n"}
    assert document.variables == {"YAML", "NUMBER", "NAME"}


@given(st.text(), st.text(min_size=1))
def test_text_without_references_stays_and_values_arrive_unchanged(text: str, value: str) -> None:
    plain = text.replace("${", "")

    assert expand(plain, {}).text == plain
    assert expand("${X}", {"X": value}).text == value
    assert expand(text.replace("${", "$${"), {}).text == text


@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`\n\t <,?$0~", max_size=60))
def test_arbitrary_text_is_read_or_refused_as_configuration(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    try:
        problems = read(folder, text).problems
    except ConfigurationError as error:
        shown = str(error)
    else:
        shown = "".join(problem.describe(folder / "c.yaml") for problem in problems)
    assert not shown or "c.yaml:" in shown
