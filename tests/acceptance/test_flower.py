"""Flower beside a real deployment: what it shows is what happens, and only to those who may."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import servers
import sites
from articles import article_declaration
from browser import chromium
from collection import Cacm
from deployment import API_KEY, ROOT, Process, write_configuration
from rest_server import Request, Response, RestServer, rest_server
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import presence_of_element_located
from selenium.webdriver.support.wait import WebDriverWait
from sites import Site

Task = Mapping[str, Any]
PATIENCE = 60.0
SECRET = "token-of-the-source"
SEARCH = (By.CSS_SELECTOR, "input[type=search]")


@pytest.fixture(scope="module")
def source(cacm: Cacm) -> Iterator[RestServer]:
    """Twenty articles, in pages of five."""
    documents = [one for one in cacm.documents if one["abstract"]][:20]

    def respond(request: Request) -> Response:
        page = int(request.param("page", "1"))
        return Response(documents[5 * page - 5 : 5 * page])

    with rest_server(respond) as server:
        yield server


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, source: RestServer) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("flower")
    article = article_declaration(
        source={
            "kind": "rest",
            "url": f"{source.url}/articles",
            "auth": {"kind": "bearer", "token": SECRET},
            "pagination": {"kind": "page", "page_param": "page", "size_param": "n"},
            "page_size": 5,
        }
    )
    broken = article_declaration("nowhere/*.jsonl")
    declared = {"acme": {"article": article, "broken": broken}}
    with sites.site(folder, write_configuration(folder, declared), workers=1) as site:
        yield site


def flower_process(site: Site, folder: Path, *options: str, **environ: str) -> Process:
    environment = {**site.service.processes["beat"].environment, **environ}
    command = [sys.executable, "-m", "celery", "-A", "workers", "flower", *options]
    return Process("flower", command, environment, folder / "flower.log")


@pytest.fixture(scope="module")
def flower(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    (port,) = servers.free_ports(1)
    folder = tmp_path_factory.mktemp("flower-log")
    process = flower_process(site, folder, "--address=127.0.0.1", f"--port={port}", "--read-only")
    process.start()
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, auth=("celeriac", API_KEY), timeout=30) as client:
        until(process, lambda: answers(client))
        yield client
    process.stop()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/api/tasks").status_code == 200
    except httpx.TransportError:
        return False


def until(process: Process, met: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := met():
            return found
        time.sleep(0.1)
    raise AssertionError(process.tail())


def tasks_of(flower: httpx.Client, job_id: str) -> list[Task]:
    """The tasks that a person finds by the job's id."""
    found = flower.get("/api/tasks", params={"limit": 1000}).json().values()
    return [one for one in found if job_id in str(one["kwargs"])]


def ended(flower: httpx.Client, job_id: str, name: str, state: str) -> list[Task]:
    return [
        one
        for one in tasks_of(flower, job_id)
        if (one["name"], one["state"]) == (f"celeriac.{name}", state)
    ]


@pytest.mark.parametrize("environ", [{}, {"CELERIAC_API_KEY": ""}])
def test_it_asks_for_a_password_or_does_not_start(
    site: Site, tmp_path: Path, flower: httpx.Client, environ: dict[str, str]
) -> None:
    if not environ:
        for path in ("/", "/tasks", "/api/tasks", "/api/workers"):
            assert httpx.get(f"{flower.base_url}{path}").status_code == 401
            wrong = httpx.get(f"{flower.base_url}{path}", auth=("celeriac", "wrong"))
            assert wrong.status_code == 401
        return
    process = flower_process(site, tmp_path, "--port=0", **environ)
    done = subprocess.run(
        process.command,
        cwd=ROOT,
        env=process.environment,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert b"FLOWER_BASIC_AUTH" in done.stderr


def test_tasks_tell_whose_they_are_and_nothing_secret(
    site: Site, flower: httpx.Client, cacm: Cacm
) -> None:
    job = site.service.reindex("acme", "article")
    beat = site.service.processes["beat"]

    def finish_told() -> list[Task]:
        done = ended(flower, job["id"], "finish_job", "SUCCESS")
        return [one for one in done if "succeeded" in one["result"]]

    until(beat, finish_told)
    first = {"tenant": "acme", "type": "article", "job_id": job["id"], "page": 0}

    def pages_told() -> list[Task] | None:
        found = ended(flower, job["id"], "index_page", "SUCCESS")
        shown = {str(one["kwargs"]) for one in found}
        return found if len(found) > 3 and str(first) in shown else None

    pages = until(beat, pages_told)
    assert any("is committed" in one["result"] for one in pages)
    everything = flower.get("/api/tasks", params={"limit": 1000}).text
    assert SECRET not in everything
    assert API_KEY not in everything
    texts = [one["abstract"][:40] for one in cacm.documents if one["abstract"]][:20]
    assert not [text for text in texts if text in everything]


def test_a_step_that_is_put_off_is_a_retry_and_one_that_fails_a_failure(
    site: Site, flower: httpx.Client, source: RestServer
) -> None:
    beat, respond = site.service.processes["beat"], source.respond
    source.respond = lambda _: Response(status=503)
    location = site.service.request_reindex("acme", "article")
    job_id = location.rpartition("/")[2]
    (retried, *_) = until(beat, lambda: ended(flower, job_id, "index_page", "RETRY"))
    assert "503" in retried["exception"]
    assert not ended(flower, job_id, "index_page", "SUCCESS")
    source.respond = respond
    assert site.service.await_job(location)["state"] == "succeeded"
    until(beat, lambda: ended(flower, job_id, "finish_job", "SUCCESS"))

    failed = site.service.reindex("acme", "broken")
    assert failed["state"] == "failed"
    (failure, *_) = until(beat, lambda: ended(flower, failed["id"], "index_page", "FAILURE"))
    assert failed["message"][:40] in failure["exception"]
    assert not ended(flower, failed["id"], "index_page", "SUCCESS")


def test_it_stops_no_worker(site: Site, flower: httpx.Client) -> None:
    (worker,) = flower.get("/api/workers", params={"refresh": "1"}).json()
    assert flower.post(f"/api/worker/shutdown/{worker}").status_code == 403
    assert site.service.processes["worker-0"].alive


def test_a_browser_shows_them(site: Site, flower: httpx.Client, tmp_path: Path) -> None:
    job = site.service.reindex("acme", "article")
    beat = site.service.processes["beat"]
    until(beat, lambda: ended(flower, job["id"], "finish_job", "SUCCESS"))
    (task, *_) = ended(flower, job["id"], "index_page", "SUCCESS")
    url = str(flower.base_url)
    with chromium(tmp_path / "profile") as browser:
        waiting = WebDriverWait(browser, PATIENCE, 0.1, [StaleElementReferenceException])
        browser.get(url.replace("//", f"//celeriac:{API_KEY}@"))
        browser.get(f"{url}/workers")  # the password is known by now, and not in the address
        waiting.until(lambda _: "worker-0@localhost" in shown(browser))
        browser.get(f"{url}/tasks")
        waiting.until(presence_of_element_located(SEARCH)).send_keys(job["id"])
        waiting.until(lambda _: "celeriac.finish_job" in shown(browser))
        waiting.until(lambda _: "celeriac.recover" not in shown(browser))
        browser.get(f"{url}/task/{task['uuid']}")
        for word in ("celeriac.index_page", "SUCCESS", "acme", "article", job["id"]):
            assert word in shown(browser)


def shown(browser: Chrome) -> str:
    """What the page says, without the spaces at which it may break."""
    return "".join(browser.find_element(By.TAG_NAME, "body").text.split())


def test_it_can_be_given_a_password_of_its_own(site: Site, tmp_path: Path) -> None:
    (port,) = servers.free_ports(1)
    options = ("--address=127.0.0.1", f"--port={port}")
    process = flower_process(site, tmp_path, *options, FLOWER_BASIC_AUTH="me:mine")
    process.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", auth=("me", "mine")) as client:
            until(process, lambda: answers(client))
            assert client.get("/api/tasks", auth=("celeriac", API_KEY)).status_code == 401
    finally:
        process.stop()
    assert os.environ.get("FLOWER_BASIC_AUTH") is None
