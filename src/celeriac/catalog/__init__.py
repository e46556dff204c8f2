"""The catalog: what must survive, in SQL. Celery carries messages; the state is here."""

from __future__ import annotations

from celeriac.catalog.api_keys import ApiKeys
from celeriac.catalog.data_sources import DataSources
from celeriac.catalog.database import Database
from celeriac.catalog.documents import Documents
from celeriac.catalog.entries import Entries
from celeriac.catalog.generations import Generations
from celeriac.catalog.indexes import Indexes
from celeriac.catalog.job_errors import JobErrors
from celeriac.catalog.jobs import Jobs
from celeriac.catalog.knowledge_bases import KnowledgeBases
from celeriac.catalog.leases import end_leases
from celeriac.catalog.listings import Listings
from celeriac.catalog.loadings import Loadings
from celeriac.catalog.migrate import migrate
from celeriac.catalog.overviews import Overviews
from celeriac.catalog.pages import Pages
from celeriac.catalog.requests import JobRequests
from celeriac.catalog.retention import Retention
from celeriac.catalog.retries import Retries
from celeriac.catalog.rounds import Rounds
from celeriac.catalog.schedules import Schedules
from celeriac.catalog.seals import Seals
from celeriac.catalog.settlement import Settlement
from celeriac.catalog.standings import Standings
from celeriac.catalog.steering import Steering


class Catalog:
    """The catalog's tables by what they hold, on one database."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.indexes = Indexes(self.database)
        self.generations = Generations(self.database)
        self.requests = JobRequests(self.database)
        self.jobs = Jobs(self.database)
        self.job_errors = JobErrors(self.database)
        self.pages = Pages(self.database)
        self.rounds = Rounds(self.database)
        self.listings = Listings(self.database)
        self.loadings = Loadings(self.database)
        self.knowledge_bases = KnowledgeBases(self.database)
        self.documents = Documents(self.database)
        self.entries = Entries(self.database)
        self.settlement = Settlement(self.database)
        self.data_sources = DataSources(self.database)
        self.api_keys = ApiKeys(self.database)
        self.retries = Retries(self.database)
        self.retention = Retention(self.database)
        self.schedules = Schedules(self.database)
        self.seals = Seals(self.database)
        self.steering = Steering(self.database)
        self.standings = Standings(self.database)
        self.overviews = Overviews(self.database)

    def migrate(self) -> None:
        """Bring the schema to this version's; several processes may call it at once."""
        migrate(self.database)

    def end_leases(self) -> None:
        """End every lease at once; only for the one process that has the catalog to itself: what
        another held, it does not hold any more."""
        with self.database.write() as connection:
            end_leases(connection)

    def ping(self) -> None:
        """Return when the database answers; raise CatalogUnavailable otherwise."""
        with self.database.read() as connection:
            connection.exec_driver_sql("SELECT 1")

    def close(self) -> None:
        """Close pooled connections."""
        self.database.close()


__all__ = ["Catalog"]
