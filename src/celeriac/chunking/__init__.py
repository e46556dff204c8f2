"""Text to chunks: read `chunker` first.

chunker       a page of texts through all of it
windows       where the windows of a text begin and end: TOKEN, SENTENCE
fitting       no chunk longer than the model can read
counts        how long chunks are for the model
boundaries    where paragraphs, sentences, lines and words end
measures      where the tokens of a text's encoding begin
graphemes     where its grapheme clusters do
"""

from celeriac.chunking.chunker import Chunker, SplitText

__all__ = ["Chunker", "SplitText"]
