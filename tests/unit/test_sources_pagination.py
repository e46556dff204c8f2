"""Link headers, and the parts of paging that need no server."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.errors import SourceError
from celeriac.sources.pagination import Cursors, next_link
from celeriac.sources.rest_client import Answer, same_origin, shown


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ("", None),
        ('</a?page=2>; rel="next"', "/a?page=2"),
        ("</a>; rel=next", "/a"),
        ('</a>; REL="NEXT"', "/a"),
        ('</a>; rel="prev next"', "/a"),
        ('</a>; rel="nextish"', None),
        ('</a>; title="rel=next"', None),
        ('</p>; rel="prev", </n>; rel="next", </l>; rel="last"', "/n"),
        ('<https://x/a,b;c>; type="t"; title="a, <b>; c" ; rel="next"', "https://x/a,b;c"),
        ("</a> rel=next", None),
        ("</a; rel=next", None),
        ('<>; rel="next"', ""),
    ],
)
def test_the_next_link_is_found(header: str, target: str | None) -> None:
    assert next_link(header) == target


@given(st.text(alphabet='<>;,"= relnxt\t', max_size=300))
def test_any_header_can_be_read(header: str) -> None:
    next_link(header)


@pytest.mark.parametrize("part", ["<", "<>", "<a>;", '<a>;"', "<a> ", "; ", "<a>;a=b;"])
def test_long_headers_are_read_at_once(part: str) -> None:
    assert next_link(part * 20_000) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a/x", "https://a:443/y", True),
        ("http://a", "http://a:80/y", True),
        ("http://a", "https://a", False),
        ("http://a", "http://a:8080", False),
        ("http://a", "http://b.a", False),
        ("http://A/", "http://a/", True),
    ],
)
def test_an_origin_is_scheme_host_and_port(one: str, other: str, same: bool) -> None:
    assert same_origin(httpx.URL(one), httpx.URL(other)) is same


def test_urls_are_shown_without_secrets() -> None:
    url = httpx.URL("https://user:s3cret@example.com:8443/a/b?key=s3cret#s3cret")
    assert shown(url) == "https://example.com:8443/a/b"


@pytest.mark.parametrize("token", [None, "", False, True, [], {}, 1.5])
def test_what_is_no_cursor_ends_a_listing(token: object) -> None:
    answer = Answer(httpx.URL("http://a/"), {"next": token}, httpx.Headers(), 0)
    assert Cursors("cursor", "next", None, {}).following(None, answer, []) is None


def test_a_cursor_cannot_be_in_an_array() -> None:
    answer = Answer(httpx.URL("http://a/"), [], httpx.Headers(), 0)
    with pytest.raises(SourceError, match=r"sent list, not an object that could have 'next'"):
        Cursors("cursor", "next", None, {}).following(None, answer, [])
