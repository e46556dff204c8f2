"""Threads shared between tenants."""

from __future__ import annotations

import threading

import pytest

from celeriac.errors import BrokerUnavailable
from celeriac.slots import Slots


@pytest.fixture
def sent() -> list[str]:
    return []


@pytest.fixture
def slots(monkeypatch: pytest.MonkeyPatch) -> Slots:
    monkeypatch.setattr("celeriac.slots.PARKED_FOR", 3600.0)
    slots = Slots()
    slots.limit = 2
    return slots


def park(slots: Slots, sent: list[str], name: str, *full: str) -> None:
    slots.park(name, lambda: sent.append(name), full)


def test_without_a_limit_a_tenant_may_hold_any_number() -> None:
    slots = Slots()
    with slots.hold("acme") as first, slots.hold("acme") as second:
        assert first
        assert second
        assert slots.full() == frozenset()


def test_a_tenant_may_hold_as_many_as_the_limit_says(slots: Slots) -> None:
    with slots.hold("acme") as first:
        assert first
        with slots.hold("acme") as second:
            assert second
            assert slots.full() == {"acme"}
            with slots.hold("acme") as third, slots.hold("best") as another:
                assert not third
                assert another
        assert slots.full() == frozenset()
        with slots.hold("acme") as again:
            assert again


def test_what_is_parked_is_sent_when_its_tenant_has_room(slots: Slots, sent: list[str]) -> None:
    with slots.hold("acme"):
        with slots.hold("acme"):
            for name in ("a", "b", "c", "b"):
                park(slots, sent, name, "acme")
            with slots.hold("best"):
                pass
            assert sent == []
        assert sent == ["a"]
    assert sent == ["a", "b", "c"]
    slots.close()


def test_what_found_no_room_a_moment_ago_is_sent_at_once(slots: Slots, sent: list[str]) -> None:
    park(slots, sent, "a", "acme")
    assert sent == ["a"]


def test_what_is_parked_goes_back_after_a_while(
    slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.slots.PARKED_FOR", 0.01)
    gone = [threading.Event(), threading.Event()]
    with slots.hold("acme"), slots.hold("acme"):
        for number, event in enumerate(gone):
            slots.park(number, event.set, {"acme"})
        assert all(event.wait(30) for event in gone)


def test_closing_sends_back_what_is_parked(slots: Slots, sent: list[str]) -> None:
    def refuse() -> None:
        raise BrokerUnavailable

    with slots.hold("acme"), slots.hold("acme"):
        slots.park("refused", refuse, {"acme"})
        park(slots, sent, "a", "acme")
        slots.close()
        assert sent == ["a"]
        park(slots, sent, "b", "acme")
        assert sent == ["a", "b"]
