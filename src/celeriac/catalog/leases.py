"""The leases under which processes hold work, of whatever kind it is."""

from __future__ import annotations

from sqlalchemy import Connection, update

from celeriac.catalog.tables import generations, jobs, pages, schedules

LEASED = (jobs, pages, generations, schedules)


def end_leases(connection: Connection) -> None:
    """End every lease, for whoever knows that none of their holders lives. The message of a page
    that was held is gone with its holder: it is sent again at the next recovery."""
    held = pages.c.lease_until.is_not(None)
    connection.execute(update(pages).where(held).values(sent_at=None))
    for table in LEASED:
        leased = table.c.lease_until.is_not(None)
        connection.execute(update(table).where(leased).values(lease_until=None))
