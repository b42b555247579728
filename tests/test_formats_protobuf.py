"""Protobuf's wire format: what is written comes back, and bytes that are none are refused."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.formats.protobuf import Field, Schema, decode, encode, varint

INNER = Schema({1: Field("s", "string"), 2: Field("x", "float")})
OPEN = Schema({1: Field("i", "int32")}, closed=False)
OUTER = Schema(
    {
        1: Field("many", INNER, repeated=True),
        2: Field("i", "int32"),
        3: Field("u", "uint64"),
        4: Field("b", "bool"),
        5: Field("data", "bytes"),
        6: Field("names", "string", repeated=True),
        7: Field("one", INNER),
        20: Field("open", OPEN),
    }
)


def test_the_bytes_of_the_encoding_guide():
    """https://protobuf.dev/programming-guides/encoding: 150 is 96 01, "testing" is a string, -2 has ten bytes."""
    assert varint(150) == b"\x96\x01"
    assert encode({"i": 150}, OPEN) == b"\x08\x96\x01"
    assert encode({"data": b"testing"}, OUTER) == b"\x2a\x07testing"
    assert encode({"i": -2}, OPEN) == b"\x08\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"
    assert decode(b"\x08\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", OPEN) == {"i": -2}


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "i": st.integers(-(2**31), 2**31 - 1),
            "u": st.integers(0, 2**64 - 1),
            "b": st.booleans(),
            "data": st.binary(max_size=200),
            "names": st.lists(st.text(max_size=5), min_size=1, max_size=4),
            "one": st.fixed_dictionaries({}, optional={"s": st.text(max_size=5), "x": st.floats(width=32)}),
            "many": st.lists(st.fixed_dictionaries({"s": st.text(max_size=3)}), min_size=1, max_size=3),
        },
    )
)
def test_what_is_written_comes_back(message):
    found = decode(encode(message, OUTER), OUTER)
    if math.isnan(message.get("one", {}).get("x", 0)):
        assert math.isnan(found["one"].pop("x"))
        del message["one"]["x"]
    assert found == message


def test_what_comes_twice():
    """The last value counts; of messages the fields are put together."""
    assert decode(b"\x10\x01\x10\x02", OUTER) == {"i": 2}
    one = encode({"one": {"s": "a"}}, OUTER) + encode({"one": {"x": 0.5}}, OUTER)
    assert decode(one, OUTER) == {"one": {"s": "a", "x": 0.5}}


def test_fields_that_the_schema_lacks():
    assert decode(b"\xa2\x01\x04\x08\x01\x48\x07", OUTER) == {"open": {"i": 1}}  # an open message skips them
    assert decode(varint(200 << 3) + b"\x01" + b"\x10\x01", OUTER) == {"i": 1}  # and so do extensions
    with pytest.raises(TokenizerError, match=r"^\$: field 19 is one that tinyllm doesn't know"):
        decode(varint(19 << 3) + b"\x01", OUTER)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x10", "a number ends too early"),
        (b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "more than 64 bits"),
        (b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "more than 64 bits"),
        (b"\x00\x01", "0 is no field number"),
        (varint(1 << 32) + b"\x00", "536870912 is no field number"),
        (b"\x13\x14", "wire type 3 of field 2"),
        (b"\x16", "wire type 6 of field 2"),
        (b"\x2a\x05abc", "field 5 has 5 bytes, but 3 are left"),
        (b"\x2a\xff\xff\xff\xff\x0f", "field 5 has 4294967295 bytes, but 0 are left"),
        (b"\x0a\x03\x15\x00\x00", r"many\[0\]: field 2 has 4 bytes, but 2 are left"),
        (b"\x12\x01\x00", r"\$.i has wire type 2; int32 has 0"),
        (b"\x08\x01", r"\$.many\[0\] has wire type 0; a message has 2"),
        (b"\x32\x01\xff", r"\$.names\[0\]: byte 0 of the string is no UTF-8"),
        (b"\x0a\x00\x0a\x03\x0a\x01\xff", r"\$.many\[1\].s: byte 0"),
        (struct.pack("<BI", 0x15, 0), r"\$.i has wire type 5"),
    ],
)
def test_bytes_that_are_none(data, message):
    with pytest.raises(TokenizerError, match=message):
        decode(data, OUTER)


def test_how_often_a_field_may_come():
    assert len(decode(b"\x32\x00" * 5, OUTER, most=5)["names"]) == 5
    with pytest.raises(TokenizerError, match="names is there more than 5 times"):
        decode(b"\x32\x00" * 6, OUTER, most=5)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_message_or_refused(data):
    try:
        decode(data, OUTER)
    except TokenizerError as error:
        assert str(error).startswith("$")
