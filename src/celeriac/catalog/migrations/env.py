"""Alembic's entry: migrations run on the connection that `celeriac.catalog.migrate` opened."""

from alembic import context

from celeriac.catalog.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
