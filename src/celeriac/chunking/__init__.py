"""Text to chunks: read `chunker` first.

chunker       a page of texts through all of it; nothing longer than the model can read
windows       where the windows of a text begin and end: TOKEN and SENTENCE
boundaries    the best place to cut: paragraph, sentence, line, word
measures      a text's length in tokens, anywhere in it, and its grapheme clusters
"""

from celeriac.chunking.chunker import Chunker, SplitText

__all__ = ["Chunker", "SplitText"]
