"""A source that answers wrong, late or not at all, and one that changes while it is listed: the job
waits and ends right, or fails with a reason; nothing is removed after a partial listing."""

from __future__ import annotations

from itertools import pairwise

import corpora
import pytest
from api_source import WRONG, PagedApi, SometimesWrong
from collection import Cacm, JsonObject
from rest_server import Response, RestServer
from trial import Trial

PAGE_SIZE = 10


@pytest.fixture
def kind() -> str:
    return "numbered"


@pytest.fixture
def api(trial: Trial, rest: RestServer, cacm: Cacm) -> PagedApi:
    api = PagedApi(corpora.some(trial.chance, cacm, 55))
    trial.documents = api.documents
    path = f"/{trial.articles.tenant}"
    rest.respond = lambda request: (
        api.respond(request) if request.path == path else Response(status=404)
    )
    return api


@pytest.mark.matrix("source")
@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param(["500", "502", "503 with Retry-After"], id="5xx"),
        pytest.param(["429 with Retry-After"], id="429"),
        pytest.param(["slow"], id="slow"),
        pytest.param(["cut off", "half of it", "not JSON"], id="broken"),
        pytest.param(list(WRONG), id="all"),
    ],
)
def test_what_may_pass_is_waited_for(kinds: list[str], trial: Trial, api: PagedApi) -> None:
    wrong = SometimesWrong(trial.chance, kinds)
    api.wrong = wrong
    job = trial.end_right(trial.request(), removed=0)
    trial.injected(len(wrong.injected))
    assert wrong.injected
    assert job["errors"] == []
    assert api.asked_too_soon() == []


@pytest.mark.matrix("source")
def test_a_page_that_fails_for_longer_is_left_for_a_while(trial: Trial, api: PagedApi) -> None:
    wrong = SometimesWrong(trial.chance, ["500"], rate=1.0, most=7)
    api.wrong = lambda number, right: wrong(number, right) if number == 3 else right
    trial.end_right(trial.request(), removed=0)
    trial.injected(len(wrong.injected))
    moments = [moment for moment, number in api.asked if number == 3][:8]
    waits = [after - before for before, after in pairwise(moments)]
    assert len({round(wait, 2) for wait in waits}) > 3, "no jitter"


@pytest.mark.matrix("listing")
def test_nothing_is_removed_after_a_listing_that_broke_off(trial: Trial, api: PagedApi) -> None:
    trial.end_right(trial.request())
    indexed = list(api.documents)
    del api.documents[5:10]
    api.wrong = lambda number, right: Response(status=404) if number == 4 else right
    job = trial.await_end(trial.request())
    trial.injected()
    assert job["state"] == "failed"
    assert "404" in job["message"]
    assert job["counters"]["removed"] == 0
    trial.assert_index_equals(job, indexed)
    api.wrong = lambda _, right: right
    trial.end_right(trial.request(), removed=5)


@pytest.mark.matrix("listing")
def test_a_page_that_comes_short_once_ends_the_listing_and_removes_nothing(
    trial: Trial, api: PagedApi
) -> None:
    trial.end_right(trial.request())
    once = [3]

    def short(number: int, right: Response) -> Response:
        if number in once:
            once.remove(number)
            return Response(right.body[:4])
        return right

    api.wrong = short
    trial.end_right(trial.request(), removed=0)
    trial.injected()
    assert once == []


@pytest.mark.matrix("listing")
def test_a_page_that_always_comes_short_is_not_taken_for_a_mass_removal(
    trial: Trial, api: PagedApi
) -> None:
    trial.end_right(trial.request())
    api.wrong = lambda number, right: Response(right.body[:4]) if number == 3 else right
    job = trial.await_end(trial.request())
    trial.injected()
    assert job["state"] == "failed"
    assert "no longer lists 31 of the 55" in job["message"]
    trial.assert_index_equals(job, api.documents)


@pytest.mark.matrix("listing")
def test_a_source_that_shrinks_while_it_is_listed_loses_nothing(
    trial: Trial, api: PagedApi
) -> None:
    gone: list[JsonObject] = []

    def shrink(number: int, right: Response) -> Response:
        # One of the first page is gone once the second has been read: the first of the fourth
        # slides to the third, which the listing may have passed.
        if number == 3 and not gone:
            gone.append(api.documents.pop(0))
        return right

    api.wrong = shrink
    job = trial.await_end(trial.request())
    trial.injected()
    # The one that is gone was listed once; the next job removes it.
    trial.documents = [*api.documents, *gone]
    trial.assert_right(job, removed=0)
    trial.documents = api.documents
    trial.end_right(trial.request(), removed=1)


@pytest.mark.matrix("listing")
def test_the_first_of_entities_with_one_id_is_indexed(trial: Trial, api: PagedApi) -> None:
    first = list(api.documents)
    api.documents[7:7] = [{**first[3], "abstract": "The same id on the same page."}]
    api.documents.append({**first[12], "abstract": "The same id on a later page."})
    trial.injected(2)
    trial.documents = first
    job = trial.end_right(trial.request(), removed=0)
    assert {error["class"] for error in job["errors"]} == {"DuplicateId"}
    assert {error["entity_id"] for error in job["errors"]} == {first[3]["id"], first[12]["id"]}
