"""A paged API under a test's control, that answers wrong when it is told to."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from collection import JsonObject
from rest_server import Request, Response

TIMEOUT = 2
"""Seconds that the declared source waits for an answer."""
RETRY_AFTER = 2
WRONG: dict[str, Callable[[Response], Response]] = {
    "500": lambda _: Response(status=500),
    "502": lambda _: Response(b"<html>Bad Gateway</html>", status=502),
    "503 with Retry-After": lambda _: Response(status=503, headers={"Retry-After": "1"}),
    "429 with Retry-After": lambda _: Response(
        status=429, headers={"Retry-After": str(RETRY_AFTER)}
    ),
    "slow": lambda right: Response(right.body, seconds=TIMEOUT + 1),
    "cut off": lambda right: Response(right.body, cut_after=len(right.content) // 2),
    "not JSON": lambda _: Response(b"<html>Maintenance</html>"),
    "half of it": lambda right: Response(right.content[: len(right.content) // 2]),
}
"""What may be sent in place of a right answer, by its name."""


@dataclass
class PagedApi:
    """Lists documents in numbered pages."""

    documents: list[JsonObject]
    wrong: Callable[[int, Response], Response] = lambda _, right: right
    """What is sent in place of an answer to a page's number."""
    asked: list[tuple[float, int]] = field(default_factory=list)
    """When which page was asked for."""
    sent: list[tuple[float, int, Response]] = field(default_factory=list)

    def respond(self, request: Request) -> Response:
        number, size = int(request.param("pageNumber")), int(request.param("pageSize"))
        self.asked.append((time.monotonic(), number))
        right = Response(self.documents[(number - 1) * size : number * size])
        response = self.wrong(number, right)
        self.sent.append((time.monotonic(), number, response))
        return response

    def asked_too_soon(self) -> list[int]:
        """Pages that were asked for again before the time that the answer asked to wait."""
        return [
            number
            for moment, number, response in self.sent
            for again, page in self.asked
            if number == page
            and 0 < again - moment < float(response.headers.get("Retry-After", 0)) - 0.1
        ]


@dataclass
class SometimesWrong:
    """Spoils answers by chance, each page a bounded number of times."""

    chance: random.Random
    kinds: Sequence[str]
    rate: float = 0.5
    most: int = 3
    injected: list[str] = field(default_factory=list)
    _spoiled: dict[int, int] = field(default_factory=dict)

    def __call__(self, number: int, right: Response) -> Response:
        times = self._spoiled.get(number, 0)
        if times >= self.most or self.chance.random() > self.rate:
            return right
        self._spoiled[number] = times + 1
        kind = self.chance.choice(list(self.kinds))
        self.injected.append(kind)
        return WRONG[kind](right)
