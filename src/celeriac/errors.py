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
    │   ├── JobPaused                      the job was paused; it goes on when it is resumed
    │   ├── TurnOver                       others wait for a thread; the page goes on later
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
    │   ├── JobEnded                       a job that has ended cannot be steered
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


class JobPaused(TransientError):
    """The job is paused; it goes on where it was when it is resumed."""


class TurnOver(TransientError):
    """Other jobs have waited for a thread; this page goes on after them."""


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


class JobEnded(PermanentError):
    """The job has ended; only one that is queued or running can be steered."""


class NotFound(PermanentError):
    """There is nothing under this name."""


class JobStopped(CeleriacError):
    """The job was cancelled or taken over; nothing more is written for it."""
