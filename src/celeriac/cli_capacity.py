"""The command `celeriac capacity`: what an index of so many entities needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import click

from celeriac import console
from celeriac.cli_keys import Duration
from celeriac.cli_options import OpenRuntime, as_json
from celeriac.embedding.models import DEFAULT_MODEL, EmbeddingModel
from celeriac.errors import ConfigurationError
from celeriac.model import MIN_CHUNK_SIZE, IndexSpec, Splitting, SplittingMethod
from celeriac.terminal import show_json

if TYPE_CHECKING:
    from celeriac.capacity import Rate, Texts
    from celeriac.configuration import EntityType
    from celeriac.runtime import Runtime

POSITIVE = click.FloatRange(min=0, min_open=True)


@dataclass(frozen=True, slots=True)
class Asked:
    """The options. What is given goes before what is declared."""

    of: tuple[str, str] | None
    entities: int | None
    tokens: float | None
    model: str | None
    splitting: str | None
    chunk_size: int | None
    chunk_overlap: int | None
    filter_fields: int | None
    tokens_per_second: float | None

    def spec(self, declared: IndexSpec | None, models: Mapping[str, EmbeddingModel]) -> IndexSpec:
        """
        Raises:
            ConfigurationError: an unknown model, or an overlap that is not below the size.
        """
        from celeriac.configuration.problems import suggestion

        name = self.model or (declared.model if declared else DEFAULT_MODEL)
        model = models.get(name)
        if model is None:
            raise ConfigurationError(
                f"There is no embedding model {name!r}; {suggestion(name, models)}"
            )
        splitting = self._splitting(declared.splitting if declared else Splitting())
        if declared is None:
            return IndexSpec(name, model.digest, model.dimension, splitting, text_fields=())
        return replace(
            declared,
            model=name,
            model_digest=model.digest,
            dimension=model.dimension,
            splitting=splitting,
        )

    def _splitting(self, declared: Splitting) -> Splitting:
        size, overlap = self.chunk_size, self.chunk_overlap
        try:
            return replace(
                declared,
                method=SplittingMethod(self.splitting or declared.method),
                chunk_size=declared.chunk_size if size is None else size,
                chunk_overlap=declared.chunk_overlap if overlap is None else overlap,
            )
        except ValueError as error:
            raise ConfigurationError(f"{error}; see --chunk-size and --chunk-overlap.") from error


@click.command()
@click.option("--entities", type=click.IntRange(1), help="How many there are.")
@click.option("--tokens", type=POSITIVE, help="Tokens (tiktoken) of an entity on average.")
@click.option(
    "--of",
    nargs=2,
    metavar="TENANT TYPE",
    help="Go by what is declared, and by the first 1,000 entities of its source.",
)
@click.option("--model", help=f"The embedding model; {DEFAULT_MODEL} by default.")
@click.option("--splitting", type=click.Choice([one.value for one in SplittingMethod]))
@click.option("--chunk-size", type=click.IntRange(MIN_CHUNK_SIZE))
@click.option("--chunk-overlap", type=click.IntRange(0))
@click.option("--filter-fields", type=click.IntRange(0), help="How many fields are filtered by.")
@click.option("--tokens-per-second", type=POSITIVE, help="What a worker of yours embeds.")
@click.option("--within", type=Duration(), help="Within which time it has to be done, such as 8h.")
@as_json
@click.pass_obj
def capacity(
    open_runtime: OpenRuntime, /, *, within: float | None, as_json: bool, **options: object
) -> None:
    """Tell what an index needs: chunks, time, workers, memory, disk. Writes nothing.

    Needs no server. With --of, past jobs say how fast this installation is, where there are any.
    """
    from celeriac.capacity import needs, times

    asked = Asked(**options)  # type: ignore[arg-type]  # click has checked them
    with open_runtime(store=False, catalog=False) as runtime:
        declared = runtime.entity_type(*asked.of) if asked.of else None
        spec = asked.spec(
            declared.spec if declared else None, runtime.settings.configuration.models
        )
        texts = _texts(runtime, asked, declared, spec)
        rates = _rates(runtime, asked, declared, spec)
    fields = len(spec.filter_fields) if asked.filter_fields is None else asked.filter_fields
    found, took = needs(texts, spec.dimension, fields), times(texts, rates, within)
    if as_json:
        show_json({"model": spec.model, **asdict(found), "times": took})
    else:
        console.show_needs(found, took, spec)


def _texts(runtime: Runtime, asked: Asked, declared: EntityType | None, spec: IndexSpec) -> Texts:
    from celeriac.capacity import estimated, sampled

    if declared is not None:
        if asked.tokens is not None:
            raise click.UsageError("Give --tokens, or --of TENANT TYPE to count them, not both.")
        source, counter = runtime.source(declared), runtime.counter(spec.model)
        return sampled(source, spec, counter, asked.entities)
    if asked.entities is None or asked.tokens is None:
        raise click.UsageError("Give --entities and --tokens, or --of TENANT TYPE.")
    return estimated(asked.entities, asked.tokens, spec.splitting)


def _rates(
    runtime: Runtime, asked: Asked, declared: EntityType | None, spec: IndexSpec
) -> list[Rate]:
    """What was given, or else what past jobs reached, before what was measured elsewhere."""
    from celeriac.capacity import RATES, Rate
    from celeriac.plan import throughput

    rates = list(RATES.get(spec.model, ()))
    if asked.tokens_per_second is not None:
        return [Rate(asked.tokens_per_second, "a worker, as --tokens-per-second says"), *rates]
    if declared is None or runtime.settings.database_url is None:
        return rates
    past = throughput(runtime, replace(declared, spec=spec))
    if past is None or past.tokens_per_second is None:
        return rates
    where = f"this installation as it is, by {past.jobs} jobs of {declared.tenant}/{declared.name}"
    return [Rate(past.tokens_per_second, where), *rates]
