"""A REST source against a real HTTP server: paging, waiting, and what servers do wrong."""

from __future__ import annotations

import gzip
import itertools
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import servers
from listings import close_opened, list_all, list_anew, opened, pages_of
from rest_server import Request, Respond, Response, RestServer, rest_server

from celeriac.errors import SourceError, SourceUnavailable
from celeriac.sources.base import Source
from celeriac.sources.registry import build_source

SECRET = "s3cret-k3y"


@pytest.fixture
def server() -> Iterator[RestServer]:
    with rest_server(lambda _: Response([])) as running:
        yield running
        close_opened()


def rest(server: RestServer, **options: Any) -> Source:
    return opened(build_source({"kind": "rest", "url": f"{server.url}/products", **options}))


def entities(count: int) -> list[dict[str, Any]]:
    return [{"id": number, "name": {"en": f"n{number}", "de": "ü"}} for number in range(count)]


def numbered(items: list[dict[str, Any]], first: int = 1) -> Respond:
    def respond(request: Request) -> Response:
        number, size = int(request.param("pageNumber")) - first, int(request.param("pageSize"))
        return Response(items[number * size : (number + 1) * size])

    return respond


def in_turn(*responses: Response) -> Respond:
    """Each response once, the last one for ever."""
    left = list(responses)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


IDS_10 = [str(number) for number in range(10)]


# Paging


@pytest.mark.parametrize("count", [0, 1, 59, 60, 61, 120, 150])
def test_numbered_pages_are_read_until_one_is_short(server: RestServer, count: int) -> None:
    server.respond = numbered(entities(count))

    listed = list_all(rest(server))

    assert [entity.fields for entity in listed.entities] == entities(count)
    assert listed.failures == []
    assert listed.pages == len(server.requests) == count // 60 + 1
    assert [request.param("pageNumber") for request in server.requests] == [
        str(number) for number in range(1, count // 60 + 2)
    ]


def test_a_total_is_passed_on_and_not_trusted(server: RestServer) -> None:
    pages = numbered(entities(10))
    for claimed in ("1", "1000"):
        server.respond = lambda request, claimed=claimed: Response(
            pages(request).body, headers={"X-Total-Count": claimed}
        )
        read = list(pages_of(rest(server, page_size=4)))
        assert [page.total for page in read] == [int(claimed)] * 3
        assert sum(len(page.entities) for page in read) == 10


@pytest.mark.parametrize("claimed", ["", "many", "-1", "9" * 5000])
def test_a_total_that_is_no_number_is_unknown(server: RestServer, claimed: str) -> None:
    server.respond = lambda _: Response([], headers={"X-Total-Count": claimed})
    assert rest(server).page(None).total is None


@pytest.mark.parametrize("page_size", [3, 5, 10, 11])
def test_offsets(server: RestServer, page_size: int) -> None:
    def respond(request: Request) -> Response:
        offset, limit = int(request.param("skip")), int(request.param("limit"))
        return Response({"data": {"list": entities(10)[offset : offset + limit]}})

    server.respond = respond
    pagination = {"kind": "offset", "offset_param": "skip"}
    listed = list_anew(
        lambda: rest(server, items="data.list", pagination=pagination, page_size=page_size)
    )
    assert listed.ids == IDS_10


def cursors_in_body(request: Request) -> Response:
    start = int(request.param("cursor", "t0")[1:])
    following = f"t{start + 3}" if start + 3 < 10 else None
    return Response({"items": entities(10)[start : start + 3], "meta": {"next": following}})


def cursors_in_header(request: Request) -> Response:
    start = int(request.param("next", "0"))
    headers = {"X-Next-Cursor": str(start + 3)} if start + 3 < 10 else {}
    return Response({"items": entities(10)[start : start + 3]}, headers=headers)


@pytest.mark.parametrize(
    ("respond", "pagination"),
    [
        (cursors_in_body, {"kind": "cursor", "next_path": "meta.next"}),
        (
            cursors_in_header,
            {
                "kind": "cursor",
                "param": "next",
                "next_header": "X-Next-Cursor",
                "size_param": "pageSize",
            },
        ),
    ],
)
def test_cursors(server: RestServer, respond: Respond, pagination: dict[str, str]) -> None:
    server.respond = respond
    listed = list_anew(lambda: rest(server, items="items", pagination=pagination, page_size=3))
    assert (listed.ids, listed.pages) == (IDS_10, 4)
    sizes = [request.query.get("pageSize") for request in server.requests]
    assert sizes == [["3"] if "size_param" in pagination else None] * 4


def linked(form: Callable[[str], str]) -> Respond:
    def respond(request: Request) -> Response:
        start = int(request.param("start", "0"))
        headers = {}
        if start + 3 < 10:
            query = f"start={start + 3}&api_key={request.param('api_key')}&pageSize=3"
            headers["Link"] = form(f"/products?{query}")
        return Response(entities(10)[start : start + 3], headers=headers)

    return respond


@pytest.mark.parametrize(
    "form",
    [
        lambda target: f'<{target}>; rel="next"',
        lambda target: f"<{target}>;rel=next",
        lambda target: f'</first>; rel="first", <{target}>; title="a, b"; rel="last next"',
        lambda target: f'<?{target.partition("?")[2]}>; REL="Next"; type="x"',
    ],
)
def test_links(server: RestServer, form: Callable[[str], str]) -> None:
    server.respond = linked(form)
    options = {"params": {"api_key": SECRET}, "pagination": {"kind": "link"}}
    pages = []
    cursor = None
    while not pages or cursor:
        page = rest(server, **options).page(cursor)
        pages.append(page)
        cursor = page.next_cursor
        assert SECRET not in (cursor or "")

    assert [entity.id for page in pages for entity in page.entities] == IDS_10
    assert [request.query["api_key"] for request in server.requests] == [[SECRET]] * 4


def test_a_link_to_another_origin_is_not_followed(server: RestServer) -> None:
    with rest_server(lambda _: Response([])) as other:
        link = f'<{other.url}/steal?key={SECRET}>; rel="next"'
        server.respond = lambda _: Response(entities(1), headers={"Link": link})
        with pytest.raises(SourceError, match=rf"another origin as next, {other.url}/steal") as e:
            rest(server, pagination={"kind": "link"}).page(None)
        assert SECRET not in str(e.value)
        assert other.requests == []


def test_one_answer_may_hold_everything(server: RestServer) -> None:
    server.respond = lambda _: Response(entities(10))
    listed = list_all(rest(server, pagination={"kind": "none"}, page_size=3))
    assert (listed.ids, listed.pages) == (IDS_10, 1)
    assert server.requests[0].query == {}


def test_pages_that_are_larger_than_asked_for_are_read_on(server: RestServer) -> None:
    server.respond = numbered(entities(10))
    server.respond = lambda request: Response(
        entities(10)[(start := (int(request.param("pageNumber")) - 1) * 7) : start + 7]
    )
    assert list_all(rest(server, page_size=5)).ids == IDS_10


@pytest.mark.parametrize("kind", ["page", "offset"])
def test_an_api_that_does_not_know_the_parameters_is_noticed(server: RestServer, kind: str) -> None:
    server.respond = lambda _: Response(entities(60))
    with pytest.raises(SourceError, match=r"the same page twice: it seems not to understand"):
        list_all(rest(server, pagination={"kind": kind}))
    assert len(server.requests) == 2


def test_a_cursor_that_does_not_move_is_noticed(server: RestServer) -> None:
    server.respond = lambda _: Response({"items": [], "next": "same"})
    with pytest.raises(SourceError, match="the same page twice"):
        list_all(rest(server, items="items", pagination={"kind": "cursor", "next_path": "next"}))


@pytest.mark.parametrize("pages", [1, 2, 3, 5])
@pytest.mark.parametrize("where", ["body", "header"])
def test_an_api_that_begins_again_without_end_is_noticed(
    server: RestServer, pages: int, where: str
) -> None:
    """Each cursor, and each link, is another one: with the time in it, say."""
    asked = itertools.count()

    def respond(_: Request) -> Response:
        number = next(asked)
        items = entities(20)[3 * (number % pages) :][:3]
        if where == "body":
            return Response({"items": items, "next": f"token-{number}"})
        link = f'</items?at={number}>; rel="next"'
        return Response({"items": items}, headers={"Link": link})

    server.respond = respond
    pagination = {"kind": "cursor", "next_path": "next"} if where == "body" else {"kind": "link"}
    with pytest.raises(SourceError, match="sent the same page twice"):
        list_all(rest(server, items="items", pagination=pagination))
    assert len(server.requests) < 4 * pages + 2


@pytest.mark.parametrize(
    ("kind", "stable"),
    [("page", False), ("offset", False), ("link", False), ("none", True)],
)
def test_it_says_whether_entities_can_slide_past(
    server: RestServer, kind: str, stable: bool
) -> None:
    assert rest(server, pagination={"kind": kind}).stable_listing is stable


# What is sent


def test_headers_and_parameters_go_along(server: RestServer) -> None:
    rest(server, params={"q": "a b", "tag": ["x", "y"]}, headers={"X-Version": "2"}).page(None)
    (request,) = server.requests
    assert request.path == "/products"
    assert request.query["q"] == ["a b"]
    assert request.query["tag"] == ["x", "y"]
    assert request.headers["x-version"] == "2"
    assert request.headers["accept-language"] == "*"
    assert request.headers["accept"] == "application/json"


def test_the_urls_own_parameters_are_kept(server: RestServer) -> None:
    rest(server, url=f"{server.url}/p?tenant=acme").page(None)
    assert server.requests[0].param("tenant") == "acme"
    assert server.requests[0].param("pageNumber") == "1"


# What comes back


@pytest.mark.parametrize(
    ("body", "items", "complaint"),
    [
        ({"data": []}, None, r"no array of entities: it is an object with the keys 'data'"),
        ({"data": {"x": 1}}, "data", r"'data' is an object with the keys 'x'"),
        ({"data": []}, "data.list", r"a list without 'list'"),
        ({"other": []}, "data", r"the keys 'other' without 'data'"),
        ("text", None, r"it is a str"),
        (None, None, r"it is null"),
    ],
)
def test_an_answer_of_another_shape_names_the_path(
    server: RestServer, body: object, items: str | None, complaint: str
) -> None:
    server.respond = lambda _: Response(body)
    with pytest.raises(SourceError, match=rf"{server.url}/products sent .*{complaint}.*`items`"):
        rest(server, items=items).page(None)


@pytest.mark.parametrize(
    "response", [Response({"data": None}), Response(status=204), Response({"data": []})]
)
def test_nothing_may_be_said_in_several_ways(server: RestServer, response: Response) -> None:
    server.respond = lambda _: response
    items = None if response.status == 204 else "data"
    page = rest(server, items=items).page(None)
    assert (page.entities, page.next_cursor) == ((), None)


def test_items_that_are_no_entities_do_not_stop_the_others(server: RestServer) -> None:
    body = b'[{"id": "a"}, {"id": null}, 7, null, {"id": "a"}, {"id": "\\ud800"}, {"id": "b"}]'
    server.respond = lambda _: Response(body)

    page = rest(server, page_size=100).page(None)

    assert [entity.id for entity in page.entities] == ["a", "b"]
    assert [failure.error_class for failure in page.failures] == [
        "MissingId",
        "UnreadableDocument",
        "UnreadableDocument",
        "DuplicateId",
        "MissingId",
    ]
    assert page.failures[0].message == (
        f"{server.url}/products, page 1, item 2 has no id: there is nothing under 'id'; "
        "the source's `id` names the field that holds it."
    )


def test_bytes_that_are_not_utf8_spoil_their_own_entity_alone(server: RestServer) -> None:
    server.respond = lambda _: Response(b'[{"id": "a", "t": "K\xf6ln"}, {"id": "b", "t": "x"}]')
    page = rest(server).page(None)
    assert [entity.id for entity in page.entities] == ["a", "b"]
    assert page.entities[0].fields["t"] == "K\udcf6ln"


def test_bytes_are_counted_decompressed(server: RestServer) -> None:
    body = json.dumps(entities(50)).encode()
    server.respond = lambda _: Response(gzip.compress(body), headers={"Content-Encoding": "gzip"})
    page = rest(server).page(None)
    assert (len(page.entities), page.bytes_read) == (50, len(body))


def test_a_small_answer_that_unfolds_too_far_is_refused(server: RestServer) -> None:
    bomb = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    server.respond = lambda _: Response(bomb, headers={"Content-Encoding": "gzip"})
    with pytest.raises(SourceError, match="sent more than 1000000 bytes; lower"):
        rest(server, max_response_bytes=1_000_000).page(None)


def test_json_nested_without_end_is_refused(server: RestServer) -> None:
    server.respond = lambda _: Response(b"[" * 1_000_000)
    with pytest.raises(SourceError, match="nested too deeply"):
        rest(server).page(None)


# Waiting and trying again


OK = Response([{"id": "ok"}])


@pytest.mark.parametrize(
    "failure",
    [
        Response("down", status=500),
        Response("down", status=503),
        Response("busy", status=429, headers={"Retry-After": "0"}),
        Response("timeout", status=408),
        Response(entities(50), cut_after=100),
        Response(b'[{"id": "cut'),
        Response(b"<html>maintenance</html>", headers={"Content-Type": "text/html"}),
        Response(b"not gzip", headers={"Content-Encoding": "gzip"}),
        Response([], cut_after=0),
        Response([], seconds=1.0),
    ],
    ids=lambda response: f"{response.status}-{response.content[:12]!r}-{response.seconds}",
)
def test_what_may_pass_is_tried_again(server: RestServer, failure: Response) -> None:
    server.respond = in_turn(failure, OK)
    page = rest(server, timeout=0.3).page(None)
    assert [entity.id for entity in page.entities] == ["ok"]
    assert len(server.requests) == 2


@pytest.mark.parametrize("header", ["Retry-After: 1", "Retry-After: date"])
def test_the_wait_a_server_asks_for_is_kept(server: RestServer, header: str) -> None:
    at = (datetime.now(UTC) + timedelta(seconds=2)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    value = at if "date" in header else "1"
    times: list[datetime] = []

    def respond(_: Request) -> Response:
        times.append(datetime.now(UTC))
        return OK if len(times) > 1 else Response(status=429, headers={"Retry-After": value})

    server.respond = respond
    rest(server).page(None)
    assert times[1] - times[0] >= timedelta(seconds=0.9)


def test_a_long_wait_is_handed_to_the_caller(server: RestServer) -> None:
    server.respond = lambda _: Response(status=503, headers={"Retry-After": "3600"})
    with pytest.raises(SourceUnavailable, match="answered 503") as caught:
        rest(server).page(None)
    assert caught.value.retry_after == 3600
    assert len(server.requests) == 1


def test_attempts_are_bounded(server: RestServer) -> None:
    server.respond = lambda _: Response(status=502)
    with pytest.raises(SourceUnavailable, match=r"answered 502 .*\(3 attempts\)") as caught:
        rest(server, max_attempts=3).page(None)
    assert caught.value.retry_after is None
    assert len(server.requests) == 3


def test_what_is_cut_off_every_time_may_be_tried_later(server: RestServer) -> None:
    server.respond = lambda _: Response(b'[{"id": 1}, {"id"', headers={"Content-Type": "text/x"})
    with pytest.raises(SourceUnavailable, match=r"17 bytes of text/x that are not whole JSON"):
        rest(server, max_attempts=2).page(None)


def test_a_server_that_does_not_answer_in_time(server: RestServer) -> None:
    server.respond = lambda _: Response([], seconds=1.0)
    with pytest.raises(SourceUnavailable, match=r"/products did not answer within 0\.2 s"):
        rest(server, timeout=0.2, max_attempts=1).page(None)


def test_a_server_that_is_not_there() -> None:
    (port,) = servers.free_ports(1)
    source = build_source(
        {"kind": "rest", "url": f"http://127.0.0.1:{port}/x?key={SECRET}", "max_attempts": 2}
    )
    with pytest.raises(SourceUnavailable, match="cannot be reached") as caught:
        source.page(None)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (400, "`params`"),
        (401, "`auth`"),
        (403, "`auth`"),
        (404, "`url`"),
        (410, "`url`"),
        (413, "`page_size`"),
        (418, "`url`"),
        (304, "`url`"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(
    server: RestServer, status: int, remedy: str
) -> None:
    server.respond = lambda _: Response({"error": SECRET}, status=status)
    with pytest.raises(SourceError, match=rf"/products answered {status} .*{remedy}") as caught:
        rest(server, params={"key": SECRET}).page(None)
    assert SECRET not in str(caught.value)
    assert len(server.requests) == 1


# Redirects


def test_a_redirect_within_the_origin_is_followed(server: RestServer) -> None:
    def respond(request: Request) -> Response:
        if request.path == "/products":
            return Response(status=307, headers={"Location": "/v2/products?pageNumber=1"})
        return OK

    server.respond = respond
    source = rest(server, auth={"kind": "bearer", "token": SECRET})
    assert [entity.id for entity in source.page(None).entities] == ["ok"]
    assert server.to("/v2/products")[0].headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("location", ["{other}/x?k={secret}", "//127.0.0.1:1/", ""])
def test_a_redirect_elsewhere_is_not_followed(server: RestServer, location: str) -> None:
    with rest_server(lambda _: OK) as other:
        target = location.format(other=other.url, secret=SECRET)
        server.respond = lambda _: Response(status=302, headers={"Location": target})
        with pytest.raises(SourceError, match="redirects to another origin") as caught:
            rest(server, auth={"kind": "bearer", "token": SECRET}).page(None)
        assert SECRET not in str(caught.value)
        assert other.requests == []


def test_redirects_end(server: RestServer) -> None:
    server.respond = lambda _: Response(status=302, headers={"Location": "/products"})
    with pytest.raises(SourceError, match="redirects without end"):
        rest(server).page(None)
    assert len(server.requests) == 5


# Threads and logs


def test_several_threads_read_pages_of_one_source(server: RestServer) -> None:
    server.respond = numbered(entities(100))
    source = rest(server, page_size=10)
    pages = list(pages_of(source))
    cursors = [None, *(page.next_cursor for page in pages[:-1])] * 3
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(source.page, cursors)) == pages * 3
    source.close()


def test_secrets_stay_out_of_logs_and_reprs(
    server: RestServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    source = rest(
        server,
        params={"api_key": SECRET},
        headers={"X-Secret": SECRET},
        auth={"kind": "basic", "username": "reader", "password": SECRET},
    )
    source.page(None)
    assert "/products" in caplog.text
    assert SECRET not in caplog.text
    assert SECRET not in repr(vars(source))
