"""`celeriac keys` on a real catalog."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from celeriac.catalog import Catalog
from celeriac.cli import main
from celeriac.security.secrets import Secret


class Keys:
    def __init__(self, database_url: str, home: Path) -> None:
        self.catalog = Catalog(database_url)
        self._environ = {"CELERIAC_DATABASE_URL": database_url, "CELERIAC_HOME": str(home)}

    def __call__(self, *arguments: str, status: int = 0) -> Result:
        answer = CliRunner().invoke(main, ["keys", *arguments], env=self._environ)
        assert answer.exit_code == status, answer.output
        return answer

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json").stdout)

    def accepted(self, text: str) -> bool:
        secret = Secret.parse(text)
        assert secret is not None
        found = self.catalog.api_keys.find(secret.id)
        return found is not None and found.accepts(secret)


@pytest.fixture
def keys(database_url: str, tmp_path: Path) -> Any:
    keys = Keys(database_url, tmp_path)
    yield keys
    keys.catalog.close()


def test_a_key_is_made_printed_once_and_listed_without_its_secret(keys: Keys) -> None:
    made = keys.json(
        *("create", "--tenant", "acme", "--tenant", "globex", "--scope", "ai.agent_manage"),
        *("--expires", "90d", "--name", "ci"),
    )

    assert keys.accepted(made["key"])
    assert made["key"] == f"clr_{made['client_id']}_{made['client_secret']}"
    assert made["expires_at"] - made["created_at"] == pytest.approx(90 * 86_400, abs=1)
    (listed,) = keys.json("list")["keys"]
    assert listed == {
        "id": made["client_id"],
        "name": "ci",
        "tenants": ["acme", "globex"],
        "scopes": ["ai.agent_manage"],
        "created_at": made["created_at"],
        "expires_at": made["expires_at"],
        "last_used_at": None,
        "revoked_at": None,
        "previous_until": None,
        "state": "active",
    }
    assert made["client_secret"] not in keys("list").output


def test_people_get_the_key_on_a_line_of_its_own(keys: Keys) -> None:
    lines = keys("create", "--tenant", "*", "--scope", "ai.agent_read").stdout.splitlines()

    assert keys.accepted(lines[0])
    assert "never" in keys("list").stdout


def test_a_rotated_key_has_two_secrets_and_a_revoked_one_none(keys: Keys) -> None:
    made = keys.json("create", "--tenant", "acme", "--scope", "ai.agent_read", "--expires", "2d")
    rotated = keys.json("rotate", made["id"], "--overlap", "2h", "--expires", "90d")

    assert rotated["id"] == made["id"]
    assert keys.accepted(made["key"])
    assert keys.accepted(rotated["key"])
    assert rotated["expires_at"] > made["expires_at"]
    again = keys.json("rotate", made["id"], "--overlap", "0s")
    assert [keys.accepted(one["key"]) for one in (made, rotated, again)] == [False, False, True]

    assert keys.json("revoke", made["id"])["revoked_at"]
    assert "revoked" in keys("list").stdout
    assert "is revoked" in keys("rotate", made["id"], status=1).stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("create", "--scope", "ai.agent_read"), "--tenant"),
        (("create", "--tenant", "acme"), "--scope"),
        (("create", "--tenant", "Acme", "--scope", "ai.agent_read"), "lower-case"),
        (("create", "--tenant", "acme", "--scope", "all"), "ai.agent_manage"),
        (("create", "--tenant", "acme", "--scope", "ai.agent_read", "--expires", "3y"), "90d"),
        (("create", "--tenant", "acme", "--scope", "ai.agent_read", "--name", "n" * 257), "--name"),
        (("rotate",), "ID"),
    ],
)
def test_wrong_usage_is_told(keys: Keys, arguments: tuple[str, ...], says: str) -> None:
    assert says in keys(*arguments, status=2).stderr


def test_a_key_that_is_not_there_is_an_error_in_one_line(keys: Keys) -> None:
    for command in ("rotate", "revoke"):
        assert keys(command, "0" * 16, status=1).stderr == (
            "celeriac: There is no key '0000000000000000'; see 'celeriac keys list'.\n"
        )
