"""Keeping secrets out of messages about the values of a configuration file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from celeriac.configuration.document import Document
from celeriac.configuration.problems import KeyPath

MASK = "***"
MAX_SHOWN = 60
"""Characters of a value that a message shows at most."""

_SECRET_KEY = re.compile(
    r"(passw(or)?d|passphrase|secret|tokens?|credentials?|authorization|bearer|cookies?|signature"
    r"|(api|access|account|private|shared)[-_]?key)$|^(auth|dsn)$",
    re.IGNORECASE,
)
_SECRET_MAPPINGS = frozenset({"auth", "credentials", "headers", "storage_options"})
_USER_INFO = re.compile(r"://(?P<user_info>[^/@\s]+)@")
_SHORT = 8


class Redactor:
    """Knows which values of a document are secret: those that the environment gave, those under a
    key that sounds secret, and what stands before the @ of a URL."""

    def __init__(self, document: Document) -> None:
        self._document = document
        secrets = {secret for secret in self._secrets(document.data, ()) if secret}
        self._patterns = [
            _pattern(secret) for secret in sorted(secrets, key=lambda text: (-len(text), text))
        ]

    def redact(self, message: str) -> str:
        """The message with each secret masked."""
        for pattern in self._patterns:
            message = pattern.sub(MASK, message)
        return message

    def shown(self, path: KeyPath, value: object) -> str | None:
        """A scalar as a message may show it, `${NAME}` as it is written; None to show nothing."""
        if not path or value is None or isinstance(value, dict | list) or _sounds_secret(path):
            return None
        written = self._document.written.get(path)
        text = str(value).lower() if isinstance(value, bool) else str(written or value)
        if "://" in text or "\n" in text or len(text) > MAX_SHOWN:
            return None
        return f"'{text}'" if isinstance(value, str) else text

    def _secrets(self, value: Any, path: KeyPath) -> Iterator[str]:
        if isinstance(value, dict):
            for key, item in value.items():
                yield from self._secrets(item, (*path, key))
        elif isinstance(value, list):
            for position, item in enumerate(value):
                yield from self._secrets(item, (*path, position))
        elif path in self._document.written or _sounds_secret(path):
            yield from (str(value), repr(value)[1:-1]) if isinstance(value, str) else ()
        elif isinstance(value, str):
            yield from _USER_INFO.findall(value)


def _sounds_secret(path: KeyPath) -> bool:
    """Whether the value has a key such as `client_secret`, or is one of `auth`'s options."""
    keys = [part for part in path if isinstance(part, str)]
    if not keys or keys[-1] == "kind":
        return False
    return bool(_SECRET_KEY.search(keys[-1])) or not _SECRET_MAPPINGS.isdisjoint(keys[:-1])


def _pattern(secret: str) -> re.Pattern[str]:
    """A short secret is looked for as a word, so that messages stay readable."""
    escaped = re.escape(secret)
    if len(secret) < _SHORT:
        escaped = rf"(?<![\w-]){escaped}(?![\w-])"
    return re.compile(escaped, re.IGNORECASE)
