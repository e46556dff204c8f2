"""Keys of rows in cursors."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.errors import SourceError
from celeriac.sources.keyset import Key, decode_key, encode_key

KEYS = (
    st.integers()
    | st.text()
    | st.binary()
    | st.uuids()
    | st.datetimes(timezones=st.none() | st.just(dt.UTC))
    | st.dates()
    | st.decimals(allow_nan=False)
)


@given(KEYS)
def test_a_key_comes_back_as_it_was(key: Key) -> None:
    restored = decode_key(json.loads(json.dumps(encode_key(key, "id"))))
    assert restored == key
    assert type(restored) is type(key)


@pytest.mark.parametrize("value", [True, 1.5, None, [1], {"a": 1}, "half \ud800"])
def test_what_does_not_compare_as_its_text_is_no_key(value: object) -> None:
    with pytest.raises(SourceError, match=r"Column 'price' holds .*`key`"):
        encode_key(value, "price")


@pytest.mark.parametrize(
    "encoded", [None, "int", ["int"], ["float", "1"], ["int", 1], ["int", "x"], ["uuid", "x"]]
)
def test_what_was_not_encoded_is_no_key(encoded: object) -> None:
    with pytest.raises(ValueError, match=r"not a key|invalid literal|badly formed"):
        decode_key(encoded)


def test_a_uuid_is_text_in_json() -> None:
    key = uuid.UUID(int=7)
    assert encode_key(key, "id") == ["uuid", "00000000-0000-0000-0000-000000000007"]
    assert encode_key(Decimal("1.50"), "id") == ["decimal", "1.50"]
