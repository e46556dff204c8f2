"""One root exception; what may help, a retry or a change, is the first fork below it.

    CeleriacError
    ├── TransientError                     the same call may succeed later
    │   ├── DependencyUnavailable
    │   │   ├── BrokerUnavailable          Redis
    │   │   ├── CatalogUnavailable         SQL
    │   │   ├── StoreUnavailable           Qdrant
    │   │   ├── SourceUnavailable          where the entities live
    │   │   └── ModelUnavailable           the embedding model or its endpoint
    │   ├── LeaseLost                      another worker has taken the page over
    │   ├── WorkerStopping                 this worker was asked to end; another goes on
    │   └── WorkerTimeout                  no worker answered in time
    ├── PermanentError                     something has to change first
    │   ├── ConfigurationError
    │   ├── SourceError                    the source refused, or sent what cannot be read
    │   ├── EntityError                    one entity cannot be indexed; the others can
    │   │   ├── MissingId
    │   │   ├── DuplicateId
    │   │   ├── NotText
    │   │   ├── EmptyText
    │   │   └── UnreadableDocument
    │   ├── ModelError                     unknown model, unusable files, wrong dimension
    │   ├── StoreMismatch                  a collection or payload index has another shape
    │   ├── VerificationFailed             the index does not equal the source
    │   ├── RemovalRefused                 a job would remove too much of an index
    │   ├── CanaryFailed                   a new generation does not find what it must
    │   │   └── UnsoundVectors             its vectors are not those of its texts
    │   ├── Conflict                       not while things stand as they do
    │   └── NotFound
    └── JobStopped                         the job was cancelled or taken over: write no more

An exception's docstring is its message unless one is given.
"""

from __future__ import annotations


class CeleriacError(Exception):
    """Something went wrong in celeriac."""

    retryable = False

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class TransientError(CeleriacError):
    """The operation failed for now; a retry may succeed."""

    retryable = True

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds the other side asked us to wait, where it said so."""


class DependencyUnavailable(TransientError):
    """A service that celeriac depends on cannot be reached."""


class BrokerUnavailable(DependencyUnavailable):
    """Redis cannot be reached; check CELERIAC_REDIS_URL and that the server runs."""


class CatalogUnavailable(DependencyUnavailable):
    """The catalog cannot be reached; check CELERIAC_DATABASE_URL and that the server runs."""


class StoreUnavailable(DependencyUnavailable):
    """Qdrant cannot be reached; check CELERIAC_QDRANT_URL and that the server runs."""


class SourceUnavailable(DependencyUnavailable):
    """The source did not answer as it should; the page will be fetched again."""


class ModelUnavailable(DependencyUnavailable):
    """The embedding model cannot be reached for now."""


class LeaseLost(TransientError):
    """Another worker has taken this page over; nothing more is written here."""


class WorkerStopping(TransientError):
    """This worker was asked to end; another one goes on with the page."""


class WorkerTimeout(TransientError):
    """No worker answered in time; check that one runs and has room."""


class PermanentError(CeleriacError):
    """The operation cannot succeed as it stands."""


class ConfigurationError(PermanentError):
    """The configuration is not valid."""


class SourceError(PermanentError):
    """The source refused the request or sent what cannot be read."""


class EntityError(PermanentError):
    """This entity cannot be indexed."""


class MissingId(EntityError):
    """The entity has no id."""


class DuplicateId(EntityError):
    """The source lists this id more than once; the first occurrence is indexed."""


class NotText(EntityError):
    """A text field holds something that is not text."""


class EmptyText(EntityError):
    """None of the text fields holds any text."""


class UnreadableDocument(EntityError):
    """The document cannot be read as its media type says."""


class ModelError(PermanentError):
    """The embedding model cannot be used."""


class StoreMismatch(PermanentError):
    """The collection in Qdrant has another shape than this index needs."""


class VerificationFailed(PermanentError):
    """The index does not equal the source."""


class RemovalRefused(PermanentError):
    """The job would remove more of the index than one job may."""


class CanaryFailed(PermanentError):
    """A search that must find something in a new generation does not find it."""


class UnsoundVectors(CanaryFailed):
    """The vectors of a generation are not those of its texts."""


class Conflict(PermanentError):
    """This cannot be done while things stand as they do."""


class NotFound(PermanentError):
    """There is nothing under this name."""


class JobStopped(CeleriacError):
    """The job was cancelled or taken over; nothing more is written for it."""
