"""The console in a real browser, on a standalone celeriac: signed in, watched, clicked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from articles import article_declaration
from axe_core_python.selenium import Axe
from browser import chromium
from collection import Cacm
from deployment import API_KEY, Service, keys, standalone, write_configuration
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

PATIENCE = 60
PAGES = ("/", "/console/jobs", "/console/search", "/console/schedules", "/console/workers")
BROKEN = '{"id": "nul", "title": "has a NUL", "abstract": "\\u0000"}\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("console")


@pytest.fixture(scope="module")
def service(folder: Path, cacm: Cacm) -> Iterator[Service]:
    lines = [json.dumps(one) + "\n" for one in cacm.documents if one["abstract"]][:60]
    (folder / "documents.jsonl").write_text("".join(lines) + BROKEN, "utf-8")
    (folder / "slow.jsonl").write_text("".join(lines), "utf-8")
    article = article_declaration(index={"model": "stub", "chunk_size": 100, "chunk_overlap": 20})
    slow = article_declaration("slow.jsonl", max_entities_per_second=10)
    types = {
        "acme": {
            "article": article,
            "slow": slow,
            "silent": article_declaration("slow.jsonl", schedule="0 3 1 1 *"),
        },
        "other": {"secret": article_declaration("slow.jsonl")},
    }
    with standalone(folder, write_configuration(folder, types)) as service:
        yield service


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("profile")


@pytest.fixture(scope="module")
def signed_in(service: Service, profile: Path) -> Iterator[Chrome]:
    with chromium(profile) as browser:
        sign_in(browser, service, API_KEY)
        yield browser


@pytest.fixture
def browser(signed_in: Chrome, service: Service) -> Chrome:
    signed_in.set_window_size(1280, 900)
    signed_in.get(service.url + "/")
    return signed_in


def sign_in(browser: Chrome, service: Service, key: str, path: str = "/") -> None:
    browser.get(service.url + path)
    assert "/console/sign-in" in browser.current_url
    browser.find_element(By.NAME, "credential").send_keys(key + Keys.ENTER)
    until(browser, lambda: path in browser.current_url and "sign-in" not in browser.current_url)


def until(browser: Chrome, met: Callable[[], object]) -> None:
    """Wait; what is brought up to date meanwhile is looked for anew."""
    waiting = WebDriverWait(browser, PATIENCE, 0.1, [StaleElementReferenceException])
    waiting.until(lambda _: met())


def click(browser: Chrome, label: str) -> None:
    words = f"starts-with(normalize-space(), '{label}')"

    def clicked() -> bool:
        browser.find_element(By.XPATH, f"//main//button[{words}]").click()
        return True

    until(browser, clicked)


def row(browser: Chrome, title: str) -> WebElement:
    return browser.find_element(By.XPATH, f"//tr[th[normalize-space()='{title}']]")


def text_of(browser: Chrome) -> str:
    return browser.find_element(By.TAG_NAME, "main").text


def reindex(browser: Chrome, service: Service, title: str) -> None:
    browser.get(service.url + "/")

    def led_to_a_job() -> bool:
        if "/console/jobs/" not in browser.current_url:
            row(browser, title).find_element(By.TAG_NAME, "button").click()
        return "/console/jobs/" in browser.current_url

    until(browser, led_to_a_job)


def test_nobody_sees_anything_before_signing_in(service: Service) -> None:
    for path in (*PAGES, "/console/jobs/x"):
        answer = httpx.get(service.url + path)
        assert answer.status_code == 303
        assert answer.headers["Location"].startswith("/console/sign-in?")
    assert httpx.get(service.url + "/", headers={"x-api-key": "wrong"}).status_code == 303
    for wrong in ("", "wrong", "celeriac_" + "0" * 40):
        answer = httpx.post(service.url + "/console/sign-in", data={"credential": wrong})
        assert answer.status_code in (400, 401)
        assert "celeriac_session" not in answer.cookies


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example"])
def test_signing_in_leads_nowhere_else(service: Service, target: str) -> None:
    form = {"credential": API_KEY, "next": target}
    answer = httpx.post(service.url + "/console/sign-in", data=form)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert API_KEY not in cookie


def test_a_form_of_another_site_does_nothing(service: Service) -> None:
    with httpx.Client(base_url=service.url) as client:
        client.post("/console/sign-in", data={"credential": API_KEY})
        index = re.search(r"/console/indexes/([^/]+)/reindex", client.get("/").text)
        assert index is not None
        for form in ({}, {"form_token": "0" * 64}):
            assert client.post(index[0], data=form).status_code == 403
        assert "No job runs" in client.get("/").text


def test_a_job_is_started_and_watched_to_its_end(browser: Chrome, service: Service) -> None:
    assert row(browser, "silent").text.count("not indexed") == 1
    reindex(browser, service, "slow")
    page = browser.find_element(By.TAG_NAME, "html")
    seen: set[str] = set()

    def has_ended() -> bool:
        seen.update(one.get_attribute("value") or "" for one in bars(browser))
        return "succeeded" in text_of(browser)

    until(browser, has_ended)
    assert page.is_displayed(), "the page was loaded anew rather than brought up to date"
    assert len(seen - {""}) > 1, f"the bar did not move: {seen}"
    browser.get(service.url + "/")
    cells = row(browser, "slow").text
    assert "live" in cells
    assert "60" in cells


def bars(browser: Chrome) -> list[WebElement]:
    return browser.find_elements(By.TAG_NAME, "progress")


def test_a_job_is_paused_resumed_and_cancelled(
    browser: Chrome, service: Service, folder: Path
) -> None:
    with (folder / "slow.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"id": "later", "title": "Later than the others"}) + "\n")
    reindex(browser, service, "slow")
    job = urlsplit(browser.current_url).path.rpartition("/")[2]
    click(browser, "Pause")
    until(browser, lambda: "paused" in text_of(browser))
    assert service.job(f"/jobs/{job}")["paused"] is True
    click(browser, "Resume")
    until(browser, lambda: "paused" not in text_of(browser))
    click(browser, "Cancel")
    until(browser, lambda: "cancelled" in text_of(browser))
    assert service.await_job(f"/jobs/{job}")["state"] == "cancelled"


def test_errors_are_grouped_and_retried(browser: Chrome, service: Service) -> None:
    reindex(browser, service, "article")
    until(browser, lambda: "succeeded" in text_of(browser))
    browser.refresh()
    found = browser.find_element(By.ID, "errors").text
    assert "NotText" in found
    assert "NUL character" in found
    assert "60 of 61 indexed; 1 cannot be" in text_of(browser)
    failed = browser.current_url
    browser.get(service.url + "/console/jobs")
    assert "1 failed" in text_of(browser)
    browser.get(service.url + "/")
    assert "1 failed" in row(browser, "article").text
    assert "but for 1" in row(browser, "article").text
    row(browser, "article").find_element(By.LINK_TEXT, "1 failed").click()
    until(browser, lambda: failed in browser.current_url)
    click(browser, "Retry this one")
    until(browser, lambda: browser.current_url != failed)
    until(browser, lambda: "failed" in text_of(browser))
    assert failed.rpartition("/")[2] in browser.find_element(By.CLASS_NAME, "pairs").text
    browser.get(service.url + "/")
    reason = "None of the 1 listed entities could be indexed"
    until(browser, lambda: reason in row(browser, "article").text)


def test_a_search_shows_the_chunk_in_its_text(
    browser: Chrome, service: Service, cacm: Cacm
) -> None:
    service.reindex("acme", "article")
    longest = max(
        [one for one in cacm.documents if one["abstract"]][:60],
        key=lambda one: len(one["abstract"]),
    )
    browser.get(service.url + "/console/search")
    browser.find_element(By.NAME, "text").send_keys(longest["title"] + Keys.ENTER)
    until(browser, lambda: browser.find_elements(By.CLASS_NAME, "hits"))
    hits = browser.find_elements(By.CSS_SELECTOR, ".hits > li")
    assert len(hits) == 10
    scores = [float(one.find_element(By.CLASS_NAME, "score").text) for one in hits]
    assert scores == sorted(scores, reverse=True)
    around = [one for one in hits if one.find_elements(By.CLASS_NAME, "around")]
    assert around, "no hit of several chunks"
    sources = {
        one["id"]: " ".join(f"{one['title']} {one['abstract']}".split()) for one in cacm.documents
    }
    for hit in around:
        name = hit.find_element(By.TAG_NAME, "strong").text
        shown = hit.find_element(By.CLASS_NAME, "passage").get_attribute("textContent") or ""
        assert " ".join(shown.strip("…").split()) in sources[name]


def test_a_search_goes_by_filters_and_number(browser: Chrome, service: Service) -> None:
    service.reindex("acme", "article")
    browser.get(service.url + "/console/search")
    number = browser.find_element(By.NAME, "top_k")
    number.clear()
    number.send_keys("3")
    tops = {
        one.rect["y"] for one in browser.find_elements(By.CSS_SELECTOR, ".filters input, select")
    }
    assert len(tops) == 1, "the fields are not in line"
    browser.find_element(By.NAME, "text").send_keys("computer" + Keys.ENTER)
    until(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, ".hits > li")) == 3)
    browser.find_element(By.NAME, "filter").send_keys("colour=red" + Keys.ENTER)
    until(browser, lambda: "There is no filter field 'colour'" in text_of(browser))
    assert browser.find_element(By.NAME, "filter").get_attribute("value") == "colour=red"


def test_workers_are_shown(browser: Chrome, service: Service) -> None:
    browser.get(service.url + "/console/workers")
    assert "answers" in text_of(browser)


def test_a_schedule_is_paused_and_resumed(browser: Chrome, service: Service) -> None:
    browser.get(service.url + "/console/schedules")
    shown = text_of(browser)
    assert "acme / silent" in shown
    assert "0 3 1 1 *" in shown
    click(browser, "Pause")
    until(browser, lambda: "paused" in text_of(browser))
    (row,) = service.client.get("/indexing/acme/schedules").json()["schedules"]
    assert row["paused"] is True
    click(browser, "Resume")
    until(browser, lambda: "paused" not in text_of(browser))


def test_what_belongs_to_another_tenant_is_not_there(service: Service) -> None:
    theirs = service.request_reindex("other", "secret")
    service.await_job(theirs)
    scopes = ("--scope", "ai.agent_read", "--scope", "ai.agent_manage")
    made = keys(service, "create", "--tenant", "acme", *scopes)
    with httpx.Client(base_url=service.url) as client:
        client.post("/console/sign-in", data={"credential": made["key"]})
        assert "silent" in client.get("/").text
        for path in PAGES:
            assert "secret" not in client.get(path).text
        token = re.search(r'name="form_token" value="(\w+)"', client.get("/").text)
        assert token is not None
        for id in (theirs.rpartition("/")[2], "x"):
            answers = [client.get(f"/console/jobs/{id}")] + [
                client.post(f"/console/jobs/{id}/{verb}", data={"form_token": token[1]})
                for verb in ("cancel", "pause", "resume", "retry", "confirm-removal")
            ]
            assert [one.status_code for one in answers] == [404] * 6


@pytest.mark.parametrize("path", [*PAGES, "a job"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_sound_for_keyboards_and_screen_readers(
    browser: Chrome, service: Service, path: str, scheme: str
) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    if path == "a job":
        path = "/jobs/".join(("/console", service.request_reindex("acme", "silent")[6:]))
    browser.get(service.url + path)
    found = Axe().run(browser)["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the content"


@pytest.mark.parametrize("path", PAGES)
def test_pages_fit_on_a_phone(browser: Chrome, service: Service, path: str) -> None:
    screen = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        browser.get(service.url + path)
        width = browser.execute_script("return document.documentElement.scrollWidth")
        assert width <= 360
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_comes_from_elsewhere_and_nothing_is_complained_about(
    browser: Chrome, service: Service
) -> None:
    browser.get_log("performance")
    browser.get_log("browser")
    for path in PAGES:
        browser.get(service.url + path)
    asked = [
        message["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"]
        == "Network.requestWillBeSent"
    ]
    assert asked
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(service.url).netloc}
    assert browser.get_log("browser") == []


def test_signing_out_ends_the_session(browser: Chrome, service: Service) -> None:
    cookie = browser.get_cookie("celeriac_session")
    assert cookie is not None
    browser.find_element(By.XPATH, "//header//button").click()
    until(browser, lambda: "/console/sign-in" in browser.current_url)
    again = httpx.get(service.url + "/", cookies={cookie["name"]: cookie["value"]})
    assert again.status_code == 303
    sign_in(browser, service, API_KEY, "/console/workers")
