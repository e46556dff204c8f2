"""The catalog: what must survive, in SQL. Celery carries messages; the state is here."""

from __future__ import annotations

from celeriac.catalog.database import Database
from celeriac.catalog.generations import Generations
from celeriac.catalog.indexes import Indexes
from celeriac.catalog.jobs import Jobs
from celeriac.catalog.listings import Listings
from celeriac.catalog.migrate import migrate
from celeriac.catalog.pages import Pages


class Catalog:
    """The catalog's tables by what they hold, on one database."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.indexes = Indexes(self.database)
        self.generations = Generations(self.database)
        self.jobs = Jobs(self.database)
        self.pages = Pages(self.database)
        self.listings = Listings(self.database)

    def migrate(self) -> None:
        """Bring the schema to this version's; several processes may call it at once."""
        migrate(self.database)

    def ping(self) -> None:
        """Return when the database answers; raise CatalogUnavailable otherwise."""
        with self.database.read() as connection:
            connection.exec_driver_sql("SELECT 1")

    def close(self) -> None:
        """Close pooled connections."""
        self.database.close()


__all__ = ["Catalog"]
