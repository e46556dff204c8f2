"""Texts to chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from celeriac.chunking.fitting import Fitted, Fitting
from celeriac.chunking.measures import MeasuredText, locate_tokens
from celeriac.chunking.windows import windows
from celeriac.embedding.base import TokenCounter
from celeriac.model import Chunk, Splitting


@dataclass(frozen=True, slots=True)
class SplitText:
    """A text in chunks."""

    chunks: tuple[Chunk, ...]
    """Slices of the text in its order that together hold every character of it, white space at
    its beginning and end included; none for a text that is empty or white space alone."""
    tokens: int
    """Length of the text in tiktoken tokens: an overlap counts once."""
    split_for_model: int
    """How many chunks had to be split because the embedding model cannot read them whole."""


class Chunker:
    """Cuts texts into chunks as `splitting` says, each no longer than the model can read.

    A chunk's `tokens` are those of the whole text's encoding that lie in it, wholly or in part.
    Encoded by itself it may have a few more or fewer; nothing depends on that number. Where a chunk
    may begin and end: `celeriac.chunking.windows`. What is too long for the model is split further:
    `celeriac.chunking.fitting`.

    Safe to call from several threads; tiktoken releases the interpreter lock while it encodes. It
    is called text by text: its own batches start threads for each call, which costs more than they
    gain on texts of a page.
    """

    def __init__(self, splitting: Splitting, counter: TokenCounter) -> None:
        self._splitting = splitting
        self._fitting = Fitting(counter, splitting.encoding)

    def split(self, text: str) -> SplitText:
        """Split one text; see `split_many`."""
        return self.split_many([text])[0]

    def split_many(self, texts: Sequence[str]) -> list[SplitText]:
        """Split a page of texts, in their order; model tokens are counted in one batch.

        Raises:
            ConfigurationError: the tiktoken encoding cannot be had.
            ModelError: the model cannot read a single character.
            UnicodeEncodeError: a text holds a lone surrogate, which is no character.
        """
        measured = {
            number: MeasuredText(text, self._splitting.encoding)
            for number, text in enumerate(texts)
            if text and not text.isspace()
        }
        size, encoding = self._splitting.chunk_size, self._splitting.encoding
        locate_tokens([text for text in measured.values() if text.tokens > size], encoding)
        spans = [list(windows(text, self._splitting)) for text in measured.values()]
        fitted = dict(zip(measured, self._fitting.fit(list(measured.values()), spans), strict=True))
        return [
            _assembled(measured[number], fitted[number]) if number in measured else _EMPTY
            for number in range(len(texts))
        ]


_EMPTY = SplitText(chunks=(), tokens=0, split_for_model=0)


def _assembled(measured: MeasuredText, fitted: Fitted) -> SplitText:
    chunks = tuple(
        Chunk(number, measured.text[start:end], measured.tokens_of(start, end), start, end)
        for number, (start, end) in enumerate(fitted.spans)
    )
    return SplitText(chunks, measured.tokens, fitted.split)
