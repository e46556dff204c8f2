"""Schema migrations, run by Alembic from inside the package."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from celeriac.catalog.database import Database

_ADVISORY_LOCK = 0x63656C6572696163
"""`celeriac` in ASCII: the key of the lock that lets one process migrate at a time."""


def migrate(database: Database) -> None:
    """Upgrade the schema to the newest revision. Safe to run from several processes at once:
    SQLite's write lock or a PostgreSQL advisory lock lets one of them do it."""
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
        command.upgrade(alembic_config(connection), "head")


def revisions(database: Database) -> tuple[str | None, str | None, frozenset[str]]:
    """The schema's revision, None where it has none, the newest one, and all that are known."""
    with database.read() as connection:
        scripts = ScriptDirectory.from_config(alembic_config(connection))
        current = MigrationContext.configure(connection).get_current_revision()
    known = frozenset(one.revision for one in scripts.walk_revisions())
    return current, scripts.get_current_head(), known


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration, bound to an open connection."""
    config = Config()
    folder = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
