"""A configuration file becomes declarations, or one error with a line for each thing to change."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from celeriac.configuration import Canary, Configuration, load_configuration
from celeriac.configuration.schedule import Schedule
from celeriac.embedding.models import Engine
from celeriac.embedding.registry import BUILTIN
from celeriac.errors import ConfigurationError, NotFound
from celeriac.model import (
    FilterField,
    FilterType,
    IndexSpec,
    Splitting,
    SplittingMethod,
    TextField,
)
from celeriac.sources.registry import build_source

ROOT = Path(__file__).parents[2]
SECRET = "hunter2hunter2"

GOLDEN = Path(__file__).parents[1] / "data" / "configuration"

SMALLEST = """
tenants:
  acme:
    entity_types:
      article:
        source: {kind: files, path: data/*.jsonl}
        text_fields: [title]
"""


def load(folder: Path, text: str, environ: dict[str, str] | None = None) -> Configuration:
    file = folder / "celeriac.yaml"
    file.write_text(dedent(text), "utf-8")
    return load_configuration(file, environ or {})


def complaints(folder: Path, text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text, environ)
    return str(caught.value).replace(f"{folder}/", "")


def entity_type(lines: str) -> str:
    """A file whose only entity type has these lines; the first of them is line 5."""
    return "tenants:\n  acme:\n    entity_types:\n      article:\n" + "".join(
        f"        {line}\n" for line in dedent(lines).strip().splitlines()
    )


def test_without_a_file_nothing_is_declared() -> None:
    configuration = load_configuration(None, {})

    assert configuration == Configuration({}, BUILTIN, None)
    with pytest.raises(NotFound, match=r"there is no configuration file; .* CELERIAC_CONFIG"):
        configuration.entity_type("acme", "article")


@pytest.mark.parametrize("text", ["", "# later\n", "tenants:\nmodels:\n", "tenants: {}\n"])
def test_a_file_may_declare_nothing(tmp_path: Path, text: str) -> None:
    configuration = load(tmp_path, text)

    assert configuration.tenants == {}
    assert configuration.models == BUILTIN


def test_the_smallest_declaration_takes_the_defaults(tmp_path: Path) -> None:
    article = load(tmp_path, SMALLEST).entity_type("acme", "article")

    model = BUILTIN["all-minilm-l6-v2"]
    assert article.tenant == "acme"
    assert article.name == "article"
    assert article.spec == IndexSpec(
        model="all-minilm-l6-v2",
        model_digest=model.digest,
        dimension=384,
        splitting=Splitting(SplittingMethod.SENTENCE, 256, 0),
        text_fields=(TextField("title"),),
    )
    assert article.schedule is None
    assert article.canaries == ()
    assert article.removal_limit == 0.2
    assert article.source["kind"] == "files"
    assert article.source["id"] == "id"


def test_everything_that_can_be_declared(tmp_path: Path) -> None:
    configuration = load(
        tmp_path,
        """
        tenants:
          acme:
            entity_types:
              CAR_PARTS:
                source: {kind: files, path: /srv/parts.jsonl, id: code}
                text_fields:
                  - name
                  - {key: description.en, alias: Description}
                  - {path: mixins.care, name: Care}
                filter_fields:
                  - {key: code}
                  - {key: price, type: float, path: price.amount, description: In euros.}
                index:
                  model: house
                  text_splitting: TOKEN
                  chunk_size: "${SIZE:-128}"
                  chunk_overlap: 16
                  own_collection: yes
                  removal_limit: 0.5
                canaries:
                  - {text: "a part that never wears", expect: [p-17, p-18], top_k: 3}
                  - {text: brakes, expect: [p-1]}
                schedule: "*/15  8-18 * * MON-fri"
          globex2:
            entity_types:
        models:
          house: {location: /models/house, dimension: 8, max_length: 64, passage_prefix: "p: "}
          all-minilm-l6-v2: {engine: stub, dimension: 16, max_length: 32}
        """,
        {"SIZE": ""},
    )

    parts = configuration.tenants["acme"].entity_types["car-parts"]
    assert parts.name == "car-parts"
    assert parts.spec == IndexSpec(
        model="house",
        model_digest=configuration.models["house"].digest,
        dimension=8,
        splitting=Splitting(SplittingMethod.TOKEN, 128, 16),
        text_fields=(
            TextField("name"),
            TextField("description.en", "Description"),
            TextField("mixins.care", "Care"),
        ),
        filter_fields=(
            FilterField("code"),
            FilterField("price", FilterType.FLOAT, "price.amount", "In euros."),
        ),
        own_collection=True,
    )
    assert parts.schedule == Schedule("*/15 8-18 * * mon-fri")
    assert parts.removal_limit == 0.5
    assert parts.canaries == (
        Canary("a part that never wears", ("p-17", "p-18"), 3),
        Canary("brakes", ("p-1",), 10),
    )
    assert parts.source["path"] == "/srv/parts.jsonl"
    assert configuration.tenants["globex2"].entity_types == {}
    assert configuration.models["house"].name == "house"
    assert configuration.models["all-minilm-l6-v2"].engine is Engine.STUB
    assert set(configuration.models) == {*BUILTIN, "house"}
    assert configuration.variables == {"SIZE"}


def test_entity_types_are_found_in_both_spellings(tmp_path: Path) -> None:
    text = SMALLEST.replace("article:", "car-parts:")
    configuration = load(tmp_path, text)

    assert configuration.entity_type("acme", "CAR_PARTS").name == "car-parts"
    assert configuration.entity_type("acme", "car-parts").name == "car-parts"


def test_what_is_not_declared_is_not_found_and_other_tenants_are_not_named(tmp_path: Path) -> None:
    configuration = load(tmp_path, SMALLEST)

    with pytest.raises(NotFound, match="There is no tenant 'acne' in the configuration file"):
        configuration.entity_type("acne", "article")
    with pytest.raises(NotFound, match="'acme' has no entity type 'ARTICLES'; did you mean 'art"):
        configuration.entity_type("acme", "ARTICLES")
    with pytest.raises(NotFound, match="'acme' has no entity type 'order'; known are article"):
        configuration.entity_type("acme", "order")


@pytest.mark.parametrize(
    ("written", "resolved"),
    [
        ("data/*.jsonl", "{folder}/data/*.jsonl"),
        ("../a.jsonl", "{folder}/../a.jsonl"),
        ("/srv/a.jsonl", "/srv/a.jsonl"),
        ("s3://bucket/a.jsonl", "s3://bucket/a.jsonl"),
    ],
)
def test_a_relative_path_of_files_begins_at_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, resolved: str
) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    (folder / "celeriac.yaml").write_text(SMALLEST.replace("data/*.jsonl", written))

    source = load_configuration(Path("etc/celeriac.yaml"), {}).entity_type("acme", "article").source

    assert source["path"] == resolved.format(folder=folder)


@pytest.mark.parametrize(
    ("written", "resolved"),
    [
        ("sqlite:///shop.db", "sqlite:///{folder}/shop.db"),
        ("sqlite:///../a/shop.db?timeout=3", "sqlite:///{folder}/../a/shop.db?timeout=3"),
        ("sqlite:////srv/shop.db", "sqlite:////srv/shop.db"),
        ("sqlite://", "sqlite://"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite:///file:shop.db?uri=true", "sqlite:///file:shop.db?uri=true"),
        ("postgresql+psycopg://u:p%40ss@h/d", "postgresql+psycopg://u:p%40ss@h/d"),
    ],
)
def test_a_relative_sqlite_file_begins_at_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, resolved: str
) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    source = f"source: {{kind: sql, url: '{written}', table: t}}"
    (folder / "celeriac.yaml").write_text(re.sub("source: .*", source, SMALLEST))

    loaded = load_configuration(Path("etc/celeriac.yaml"), {}).entity_type("acme", "article").source

    assert loaded["url"] == resolved.format(folder=folder)


def test_declared_options_build_a_source_that_lists(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text('{"id": "1", "title": "One"}\n')
    source = build_source(load(tmp_path, SMALLEST).entity_type("acme", "article").source)

    page = source.page(None)
    source.close()

    assert [entity.id for entity in page.entities] == ["1"]


def test_all_that_is_wrong_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (GOLDEN / "wrong.yaml").read_text("utf-8")

    assert complaints(tmp_path, text) == (GOLDEN / "wrong.txt").read_text("utf-8").rstrip("\n")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            """
            source: {kind: files, path: x}
            text_fields: [a]
            index:
              chunk_size: 128
              chunk_overlap: 128
            """,
            "9: {type}.index.chunk_overlap: must be below chunk_size, 128; it is 128",
        ),
        (
            """
            source: {kind: files, path: x}
            text_fields: [a]
            index: {chunk_size: 99}
            """,
            "7: {type}.index.chunk_size: must be at least 100; it is 99",
        ),
        (
            """
            source: {path: x}
            text_fields: [a]
            """,
            "5: {type}.source.kind: is required, and missing",
        ),
        (
            """
            source: files
            text_fields: [a]
            """,
            "5: {type}.source: must be a mapping with the key 'kind'; it is 'files'",
        ),
        (
            """
            source:
              kind: files
              path:
              page_size: 20000
            text_fields: [a]
            """,
            "7: {type}.source.path: has no value; give it one, or remove the key\n"
            "celeriac.yaml:8: {type}.source.page_size: must be at least 1 and at most 10000; "
            "it is 20000",
        ),
        (
            """
            source: {kind: files, path: x}
            text_fields: [a..b, .a, {alias: A}, {key: a, alias: A, name: B}]
            """,
            "6: {type}.text_fields[1]: must be a dotted path such as mixins.care.en; it is '.a'\n"
            "celeriac.yaml:6: {type}.text_fields[2].key: is required, and missing\n"
            "celeriac.yaml:6: {type}.text_fields[3].name: is another name for alias; "
            "give one of them; it is 'B'",
        ),
        (
            """
            source: {kind: files, path: x}
            text_fields: [a]
            filter_fields:
              - {key: code}
              - {key: code, type: integer}
            """,
            "9: {type}.filter_fields[1]: is listed twice",
        ),
        (
            """
            source: {kind: files, path: x}
            text_fields: [a]
            canaries:
              - {text: how, expects: [p-1]}
              - {text: "", expect: []}
              - {text: how, expect: [17], top_k: 101}
            """,
            "8: {type}.canaries[0].expect: is required, and missing\n"
            "celeriac.yaml:8: {type}.canaries[0].expects: unknown key 'expects'; "
            "did you mean 'expect'?\n"
            "celeriac.yaml:9: {type}.canaries[1].expect: must name at least one entity\n"
            "celeriac.yaml:9: {type}.canaries[1].text: shorter than minimum length 1; it is ''\n"
            "celeriac.yaml:10: {type}.canaries[2].expect[0]: must be text; it is 17\n"
            "celeriac.yaml:10: {type}.canaries[2].top_k: must be at least 1 and at most 100; "
            "it is 101",
        ),
        (
            """
            source: {kind: files, path: x}
            text_fields: [a]
            canaries: how do I return an order
            """,
            "7: {type}.canaries: must be a list; it is 'how do I return an order'",
        ),
        (
            """
            source: {kind: files, path: x}
            text_fields: [a]
            schedule: 5
            """,
            "7: {type}.schedule: must be a cron expression, or a mapping with the keys cron and "
            "timezone; it is 5",
        ),
        (
            """
            source: {kind: files, path: x}
            text_fields: [a]
            schedule: {cron: 0 3 * * *, timezone: Europe/Berlim}
            """,
            "7: {type}.schedule.timezone: there is no time zone 'Europe/Berlim'; name one such as "
            "Europe/Berlin",
        ),
        (
            """
            source: {kind: files, path: x}
            text_fields: [a]
            schedule: {timezone: Europe/Berlin}
            """,
            "7: {type}.schedule.cron: is required, and missing",
        ),
        (
            """
            source: {kind: files, path: x}
            text_fields: [a]
            index: {model: "${MODEL}"}
            """,
            "7: {type}.index.model: there is no embedding model '${MODEL}'; "
            "did you mean 'all-minilm-l6-v2'?",
        ),
    ],
)
def test_complaints(tmp_path: Path, lines: str, expected: str) -> None:
    expected = expected.replace("{type}", "tenants.acme.entity_types.article")

    found = complaints(tmp_path, entity_type(lines), {"MODEL": "all-minilm"})

    assert found == f"celeriac.yaml:{expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n", "1: must be a mapping with the keys tenants, models and security"),
        ("just text\n", "1: must be a mapping with the keys tenants, models and security"),
        (
            '"a\\nb": 1\n',
            "1: a\\nb: unknown key 'a\\nb'; known are models, security, tenants",
        ),
        ("tenants: [a]\n", "1: tenants: must be a mapping"),
        ("tenants: {acme: }\n", "1: tenants.acme: has no value; give it one, or remove the key"),
        (
            "models:\n  m: {name: n, engine: stub}\n",
            "2: models.m.name: is the key above; remove it here; it is 'n'",
        ),
        (
            "models:\n  m: {dimension: 8, max_length: 8}\n",
            "2: models.m.location: is required, and missing",
        ),
        (
            "models:\n  m: {engine: torhc}\n",
            "2: models.m.engine: must be one of: torch, gemini, stub; "
            "it is 'torhc', did you mean 'torch'?",
        ),
        (
            "models:\n  m: {engine: stub, dimensions: 8}\n",
            "2: models.m.dimensions: unknown key 'dimensions'; did you mean 'dimension'?",
        ),
    ],
)
def test_complaints_about_the_whole_file_and_models(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert complaints(tmp_path, text) == f"celeriac.yaml:{expected}"


def test_a_wrong_model_is_not_taken_for_an_unknown_one(tmp_path: Path) -> None:
    text = SMALLEST + "        index: {model: mine}\nmodels:\n  mine: {engine: torchy}\n"

    assert complaints(tmp_path, text).splitlines() == [
        "celeriac.yaml:10: models.mine.engine: must be one of: torch, gemini, stub; "
        "it is 'torchy', did you mean 'torch'?"
    ]


SECRETIVE = f"""
tenants:
  acme:
    entity_types:
      article:
        source:
          kind: rest
          url: "ftp://user:{SECRET}@example.com"
          headers: {{X-Shop: "{SECRET}\\n", X-Other: "${{VAULT}}\\n"}}
          auth: {{kind: basic, username: [], password: [{SECRET}], pasword: {SECRET}}}
          timeout: "${{VAULT}}"
          page_size: "${{VAULT}}"
        text_fields: [a]
        index: {{model: "${{VAULT}}", chunk_size: "${{VAULT}}"}}
        schedule: "${{VAULT}} * * * *"
models:
  folder: {{location: "${{VAULT}}", dimension: 8, max_length: 8}}
  endpoint:
    engine: gemini
    location: "http://user:{SECRET}@example.com"
    dimension: 8
    max_length: 8
  keyed: {{engine: stub, dimension: 8, max_length: 8, api_key: {SECRET}}}
"""


def test_secrets_are_in_no_message(tmp_path: Path) -> None:
    found = complaints(tmp_path, SECRETIVE, {"VAULT": "From-The-Vault"})

    lines = {line.split(":")[1] for line in found.splitlines()}
    assert lines == {"8", "9", "10", "11", "12", "14", "15", "17", "18", "23"}
    assert SECRET not in found
    assert "vault" not in found.lower().replace("${vault}", "")


def test_short_values_of_the_environment_leave_messages_readable(tmp_path: Path) -> None:
    found = complaints(
        tmp_path,
        entity_type("""
            source: {kind: "${KIND}", path: x}
            text_fields: [a]
            schedule: "${KIND} * * * *"
        """),
        {"KIND": "q"},
    )

    assert found.splitlines() == [
        "celeriac.yaml:5: tenants.acme.entity_types.article.source.kind: "
        "must be one of: files, rest, sql; it is '${KIND}'",
        "celeriac.yaml:7: tenants.acme.entity_types.article.schedule: minute: '***' is not a "
        "value from 0 to 59, a range of them, or * (* and a range may have a step, as in */2); "
        "it is '${KIND} * * * *'",
    ]


def test_a_declaration_does_not_show_its_source(tmp_path: Path) -> None:
    configuration = load(
        tmp_path, SMALLEST.replace("data/*.jsonl", '"${S}"'), {"S": "/srv/" + SECRET}
    )

    assert configuration.entity_type("acme", "article").source["path"] == f"/srv/{SECRET}"
    assert SECRET not in repr(configuration)


def test_a_configuration_can_be_sent_to_a_spawned_process(tmp_path: Path) -> None:
    configuration = load(tmp_path, SMALLEST)

    assert pickle.loads(pickle.dumps(configuration)) == configuration


KEYS = st.sampled_from(["source", "text_fields", "index", "schedule", "kind", "model", "x", "a"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["files"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_whatever_an_entity_type_holds_the_answer_is_a_configuration_or_lines_with_places(
    tmp_path_factory: pytest.TempPathFactory, options: object
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(
        yaml.safe_dump({"tenants": {"acme": {"entity_types": {"article": options}}}}), "utf-8"
    )
    try:
        load_configuration(file, {})
    except ConfigurationError as error:
        shown = str(error).splitlines()
    else:
        shown = []
    assert all(re.match(rf"{re.escape(str(file))}:\d+: tenants\.acme\.", line) for line in shown)


def test_the_page_about_configuring_is_what_the_code_says() -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "docs/generate_configuring.py", "--check"]

    done = subprocess.run(command, cwd=ROOT, env=environ, check=False)

    assert done.returncode == 0, "run python docs/generate_configuring.py"


def test_the_examples_on_the_page_are_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "configuring.md").read_text("utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)

    assert len(examples) == 4
    for example in examples:
        assert load(tmp_path, example).path
