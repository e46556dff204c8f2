"""celeriac: a distributed indexing service that keeps Qdrant equal to the source."""

__version__ = "0.1.0"
