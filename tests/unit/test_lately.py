"""What was done a moment ago is remembered for a moment."""

from __future__ import annotations

from celeriac.lately import Lately


def test_a_key_is_remembered_for_its_seconds_and_then_forgotten() -> None:
    now = [100.0]
    lately = Lately(1.0, clock=lambda: now[0])
    lately.note("a")
    now[0] += 0.6
    lately.note("b")
    assert (lately.has("a"), lately.has("b"), lately.has("c")) == (True, True, False)
    now[0] += 0.6
    assert (lately.has("a"), lately.has("b")) == (False, True)


def test_a_key_that_is_noted_again_counts_anew() -> None:
    now = [100.0]
    lately = Lately(1.0, clock=lambda: now[0])
    for _ in range(3):
        lately.note("a")
        now[0] += 0.9
        assert lately.has("a")


def test_what_is_forgotten_takes_no_room() -> None:
    now = [100.0]
    lately = Lately(1.0, clock=lambda: now[0])
    for number in range(1000):
        lately.note(str(number))
        now[0] += 0.5
    assert len(lately._noted) < 5
