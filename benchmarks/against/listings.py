"""Sources that do not list what they hold: pages over HTTP that fail, end early or slide."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rest_server import Request, Response, rest_server

from benchmarks.against.corpus import Documents

PAGE_SIZE = 20
Listing = Callable[[int], Response]
"""The answer to the request for a page; the first is 1."""


@contextmanager
def listed(listing: Listing) -> Iterator[Mapping[str, object]]:
    """A server with that listing, as a driver's source."""

    def respond(request: Request) -> Response:
        return listing(int(request.param("pageNumber", "1")))

    with rest_server(respond) as server:
        yield {"url": f"{server.url}/documents", "page_size": PAGE_SIZE}


def middle(documents: Documents) -> int:
    """The number of the page in the middle."""
    return len(documents) // PAGE_SIZE // 2 + 1


def failing_once(documents: Documents) -> Listing:
    """The page in the middle is not to be had the first time it is asked for: 503."""
    broken = {middle(documents)}

    def listing(page: int) -> Response:
        if page in broken:
            broken.remove(page)
            return Response({"message": "try again"}, 503)
        return _page(documents, page)

    return listing


def ending_early(documents: Documents) -> Listing:
    """From the middle on every page is empty, as if the list ended there: 200."""

    def listing(page: int) -> Response:
        return Response([]) if page >= middle(documents) else _page(documents, page)

    return listing


def sliding(documents: Documents, gone: int) -> Listing:
    """While the listing is in the middle, `gone` documents of its beginning are deleted, for good:
    what follows moves up, and as many are on no page that is asked for."""
    held = list(documents)

    def listing(page: int) -> Response:
        if page == middle(documents) and len(held) == len(documents):
            del held[:gone]
        return _page(held, page)

    return listing


def complete(documents: Documents) -> Listing:
    return lambda page: _page(documents, page)


def _page(documents: Documents, page: int) -> Response:
    return Response(documents[(page - 1) * PAGE_SIZE : page * PAGE_SIZE])
