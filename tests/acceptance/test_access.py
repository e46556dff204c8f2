"""Credentials from end to end: a key made on the command line, a token for it, and one of an
identity provider, on a standalone celeriac."""

from __future__ import annotations

from pathlib import Path

import httpx
import yaml
from articles import Articles
from deployment import keys, standalone
from identity_provider import AUDIENCE, identity_provider

DOCUMENTS = [{"id": f"d{n}", "title": f"Title {n}", "abstract": "Roots."} for n in range(5)]


def with_issuer(configuration: Path, issuer: str) -> None:
    declared = yaml.safe_load(configuration.read_text("utf-8"))
    declared["security"] = {"issuers": [{"issuer": issuer, "audience": AUDIENCE}]}
    configuration.write_text(yaml.safe_dump(declared), "utf-8")


def test_every_kind_of_credential_reindexes_and_none_is_in_the_log(tmp_path: Path) -> None:
    articles = Articles.declare(tmp_path)
    articles.write(DOCUMENTS)
    with identity_provider() as provider:
        with_issuer(articles.configuration, provider.issuer)
        with standalone(tmp_path, articles.configuration) as service:
            scopes = ("--scope", "ai.agent_read", "--scope", "ai.agent_manage")
            made = keys(service, "create", "--tenant", "acme", *scopes)
            form = {
                "grant_type": "client_credentials",
                "client_id": made["client_id"],
                "client_secret": made["client_secret"],
            }
            token = httpx.post(f"{service.url}/oauth/token", data=form).json()["access_token"]
            credentials = [made["key"], token, provider.token()]
            del service.client.headers["x-api-key"]
            for credential in credentials:
                service.client.headers["Authorization"] = f"Bearer {credential}"
                assert service.reindex("acme", "article")["state"] == "succeeded"

            keys(service, "revoke", made["client_id"])
            log = service.processes["standalone"].log.read_text("utf-8", "replace")

    for credential in (*credentials, made["client_secret"]):
        assert credential not in log
