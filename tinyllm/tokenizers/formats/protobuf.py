"""Protocol Buffers' wire format, as much of it as SentencePiece's .model needs: read and written, no package.

A message is a sequence of fields, each a key (field number << 3 | wire type) and a value. What the numbers mean is
not in the bytes: a `Schema` says it, {number: Field(name, kind)}. A message read is a dict of the fields that were
there, by name; a repeated field is a list.

Not here: groups, maps, packed lists of numbers, services, reflection. https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from tinyllm.errors import TokenizerError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
WIRE = {"int32": VARINT, "uint64": VARINT, "bool": VARINT, "float": FIXED32, "string": LENGTH, "bytes": LENGTH}
FIRST_EXTENSION = 200  # numbers that a message leaves to others


class Field(NamedTuple):
    """`kind`: int32, uint64, bool, float, string, bytes, or the Schema of a message."""

    name: str
    kind: str | Schema
    repeated: bool = False


class Schema(NamedTuple):
    """The fields of a message. `closed`: other field numbers are an error, below FIRST_EXTENSION; else skipped.
    `build` makes of a message, where it is repeated, what stands in the list.
    """

    fields: Mapping[int, Field]
    closed: bool = True
    build: Callable[[dict[str, Any]], Any] | None = None


def decode(data: bytes, schema: Schema, path: str = "$", most: int = 1 << 22) -> dict[str, Any]:
    """The message that is `data`. TokenizerError, with the path of the field, for bytes that are none, and for a field
    that is repeated more often than `most` times.
    """
    message: dict[str, Any] = {}
    _read(data, 0, len(data), schema, path, message, most)
    return message


def encode(message: Mapping[str, Any], schema: Schema) -> bytes:
    """The bytes of a message, its fields in the order of their numbers."""
    out = bytearray()
    for number, field in sorted(schema.fields.items()):
        if field.name not in message:
            continue
        values = message[field.name] if field.repeated else [message[field.name]]
        for value in values:
            if isinstance(field.kind, Schema):
                body = encode(value, field.kind)
                out += varint(number << 3 | LENGTH) + varint(len(body)) + body
            else:
                out += varint(number << 3 | WIRE[field.kind]) + _WRITERS[field.kind](value)
    return bytes(out)


def fields(data: bytes, start: int, end: int, path: str) -> Iterator[tuple[int, int, int, int]]:
    """(number, wire type, value or where it begins, where it ends) of each field of data[start:end]."""
    while start < end:
        key, start = _varint(data, start, end, path)
        number, wire = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise TokenizerError(f"{path}: byte {start}: {number} is no field number")
        if wire == VARINT:
            value, start = _varint(data, start, end, path)
            yield number, wire, value, start
            continue
        if wire == LENGTH:
            size, start = _varint(data, start, end, path)
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise TokenizerError(f"{path}: byte {start}: wire type {wire} of field {number} is none of this format")
        if size > end - start:
            raise TokenizerError(f"{path}: field {number} has {size} bytes, but {end - start} are left")
        yield number, wire, start, start + size
        start += size


def _read(data: bytes, start: int, end: int, schema: Schema, path: str, message: dict[str, Any], most: int) -> None:
    for number, wire, value, stop in fields(data, start, end, path):
        field = schema.fields.get(number)
        if field is None:
            if schema.closed and number < FIRST_EXTENSION:
                raise TokenizerError(f"{path}: field {number} is one that tinyllm doesn't know")
            continue
        name, kind, repeated = field
        before: list[Any] = message.setdefault(name, []) if repeated else []
        here = f"{path}.{name}[{len(before)}]" if repeated else f"{path}.{name}"
        if len(before) >= most:
            raise TokenizerError(f"{path}.{name} is there more than {most} times")
        if isinstance(kind, Schema):
            if wire != LENGTH:
                raise TokenizerError(f"{here} has wire type {wire}; a message has {LENGTH}")
            found = {} if repeated else message.get(name, {})  # what comes twice is one message
            _read(data, value, stop, kind, here, found, most)
            if kind.build is not None and repeated:
                found = kind.build(found)
        else:
            if wire != WIRE[kind]:
                raise TokenizerError(f"{here} has wire type {wire}; {kind} has {WIRE[kind]}")
            found = _READERS[kind](value if wire == VARINT else data[value:stop], here)
        if repeated:
            before.append(found)
        else:
            message[name] = found


def _varint(data: bytes, start: int, end: int, path: str) -> tuple[int, int]:
    """The number that begins at `start`, 7 bits a byte, low ones first; and where it ends."""
    value = shift = 0
    while start < end and shift < 70:
        byte = data[start]
        start += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if value >> 64:
                break
            return value, start
        shift += 7
    raise TokenizerError(f"{path}: byte {start}: a number ends too early or has more than 64 bits")


def varint(value: int) -> bytes:
    """A number of 64 bits; a negative one in two's complement."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _int32(value: int, path: str) -> int:
    """Two's complement; the upper half of 64 bits is dropped, as by protobuf itself."""
    value &= (1 << 32) - 1
    return value - (1 << 32) if value >> 31 else value


def _string(value: bytes, path: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path}: byte {error.start} of the string is no UTF-8") from None


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "int32": _int32,
    "uint64": lambda value, path: value,
    "bool": lambda value, path: bool(value),
    "float": lambda value, path: struct.unpack("<f", value)[0],
    "string": _string,
    "bytes": lambda value, path: value,
}


def _sized(value: bytes) -> bytes:
    return varint(len(value)) + value


_WRITERS: dict[str, Callable[[Any], bytes]] = {
    "int32": varint,
    "uint64": varint,
    "bool": varint,
    "float": lambda value: struct.pack("<f", value),
    "string": lambda value: _sized(value.encode("utf-8")),
    "bytes": _sized,
}
