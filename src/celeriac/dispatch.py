"""How jobs ask for work to be done: messages that carry ids, sent after the rows are written.

A message may be lost or arrive twice; the rows say what is to be done, and `Jobs.recover` sends
again what was lost.
"""

from __future__ import annotations

from typing import Protocol

VISIBILITY_TIMEOUT = 600
"""Seconds after which Redis gives a message to another worker; every task takes far less."""
LONGEST_WAIT = 60.0
"""Seconds that a message of a throttled job is delayed at most; it is put off again if need be. The
broker would hold one that is delayed for longer to be lost."""


class Dispatcher(Protocol):
    """Sends work to whoever runs it. Each method raises BrokerUnavailable when it cannot."""

    def start_job(self, job_id: str) -> None: ...

    def index_page(self, job_id: str, number: int, *, delay: float = 0) -> None: ...

    def finish_job(self, job_id: str, *, delay: float = 0) -> None: ...

    def depth(self) -> int:
        """How many messages wait for a worker."""
        ...
