"""One root exception; what may help, a retry or a change, is the first fork below it.

    CeleriacError
    ├── TransientError                     the same call may succeed later
    │   ├── DependencyUnavailable
    │   │   ├── BrokerUnavailable          Redis
    │   │   ├── CatalogUnavailable         SQL
    │   │   ├── StoreUnavailable           Qdrant
    │   │   ├── SourceUnavailable          where the entities live
    │   │   ├── ModelUnavailable           the embedding model or its endpoint
    │   │   └── IssuerUnavailable          who signs the tokens
    │   ├── RateLimited                    too many requests of one credential or address
    │   ├── LeaseLost                      another worker has taken the page over
    │   ├── WorkerStopping                 this worker was asked to end; another goes on
    │   ├── JobPaused                      the job was paused; it goes on when it is resumed
    │   ├── TurnOver                       others wait for a thread; the page goes on later
    │   └── WorkerTimeout                  no worker answered in time
    ├── PermanentError                     something has to change first
    │   ├── Unauthenticated                no valid credential
    │   ├── Forbidden                      a valid one that does not reach that far
    │   ├── ConfigurationError
    │   │   └── HomeInUse                  another process has the data folder open
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
    │   ├── Conflict                       what is there does not allow it now
    │   ├── TooLarge                       a document beyond the size that is taken
    │   ├── EmptyDocument                  a document without content
    │   ├── ForbiddenAddress               a tenant's URL leads into an internal network
    │   └── NotFound
    │       └── CollectionMissing          the store lost it, or somebody removed it
    └── JobStopped                         the job was cancelled or taken over: write no more

An exception's docstring is its message unless one is given.
"""

from __future__ import annotations

from collections.abc import Mapping

INVALID = "oauth.v2.InvalidAccessToken"
MISSING = "oauth.v2.MissingAccessToken"
EXPIRED = "keymanagement.service.access_token_expired"
"""What the reindex contract calls the ways in which a credential is refused."""


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


class IssuerUnavailable(DependencyUnavailable):
    """The keys of the token's issuer cannot be fetched for now; the log says why."""


class RateLimited(TransientError):
    """Too many requests; try again later."""


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


class Unauthenticated(PermanentError):
    """The credential is not valid."""

    def __init__(self, message: str | None = None, code: str = INVALID) -> None:
        super().__init__(message)
        self.code = code
        """The reindex contract's `errorcode`."""


class Forbidden(PermanentError):
    """The credential does not allow this."""

    def __init__(self, message: str | None = None, *, scope: str | None = None) -> None:
        super().__init__(message)
        self.scope = scope
        """The scope that is missing, where it is one."""


class ConfigurationError(PermanentError):
    """The configuration is not valid."""


class HomeInUse(ConfigurationError):
    """Another process has the data folder open."""


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
    """What is there already does not allow this."""

    def __init__(self, message: str | None = None, *, code: str = "CONFLICT") -> None:
        super().__init__(message)
        self.code = code
        """What is in the way, in upper case."""


class TooLarge(PermanentError):
    """The document is larger than what is taken."""


class EmptyDocument(PermanentError):
    """The document has no content."""


class ForbiddenAddress(PermanentError):
    """The URL leads to an address that may not be reached."""


class NotFound(PermanentError):
    """There is nothing under this name."""

    def __init__(self, message: str | None = None, *, code: str = "not_found") -> None:
        super().__init__(message)
        self.code = code
        """What is not there, in lower case."""


class CollectionMissing(NotFound):
    """The collection does not exist."""


class JobStopped(CeleriacError):
    """The job was cancelled or taken over; nothing more is written for it."""


def as_json(error: CeleriacError) -> dict[str, str]:
    """An error to hand to another process."""
    return {"class": type(error).__name__, "message": str(error)}


def restored(error: Mapping[str, str]) -> CeleriacError:
    """The error that `as_json` was given."""
    kind = globals().get(error["class"], CeleriacError)
    known: CeleriacError = kind(error["message"])
    return known
