"""Writes _unicode.py: what this package asks of every code point, from the Unicode data inside the `regex` package.

    python tinyllm/tokenizers/_unicode_generate.py            # write the table again
    python tinyllm/tokenizers/_unicode_generate.py --check    # exit 1 if the committed table differs

Run by hand when the Unicode version is to move: the pieces of newly assigned characters, and with them token
ids, move with it. `regex` is the source because the split patterns of GPT-2 and its kin were written for it.
"""

from __future__ import annotations

import base64
import importlib
import importlib.metadata
import re
import struct
import sys
import textwrap
import zlib
from pathlib import Path

# The first value of each property is that of every code point which has no other, surrogates among them: they
# never occur in text, and stand for invalid bytes where text was bytes.
CATEGORIES = (
    "Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Zs Zl Zp Cc Cf Co Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So".split()
)  # fmt: skip
WORD_BREAK = (
    "Other CR LF Newline Extend ZWJ Regional_Indicator Format Katakana Hebrew_Letter ALetter Single_Quote "
    "Double_Quote MidNumLet MidLetter MidNum Numeric ExtendNumLet WSegSpace"
).split()
SENTENCE_BREAK = "Other CR LF Extend Sep Format Sp Lower Upper OLetter Numeric ATerm SContinue STerm Close".split()
PROPERTIES: tuple[tuple[str, list[tuple[object, str]]], ...] = (  # the fields of a record
    ("category", [(value, rf"\p{{{value}}}") for value in CATEGORIES]),
    ("word_break", [(value, rf"\p{{WB={value}}}") for value in WORD_BREAK]),
    ("sentence_break", [(value, rf"\p{{SB={value}}}") for value in SENTENCE_BREAK]),
    ("white_space", [(False, ""), (True, r"\s")]),
    ("alphabetic", [(False, ""), (True, r"\p{Alphabetic}")]),
    ("pictographic", [(False, ""), (True, r"\p{Extended_Pictographic}")]),
)
BLOCK = 64  # the code points that the last byte of UTF-8 tells apart


def classify(values: list[tuple[object, str]]) -> list:
    """The value of one property for each of the 0x110000 code points."""
    regex = importlib.import_module("regex")
    table = [values[0][0]] * 0x110000
    characters = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    for value, pattern in values[1:]:
        for match in regex.finditer(pattern, characters):
            point = ord(match.group())
            if table[point] != values[0][0]:
                raise SystemExit(f"U+{point:04X} is both {value} and {table[point]}")
            table[point] = value
    return table


def scripts() -> list[tuple[object, str]]:
    """The scripts that the regex package knows, in the order of their names."""
    properties = importlib.import_module("regex._regex_core").PROPERTIES
    longest: dict[int, str] = {}
    for name, number in properties["SCRIPT"][1].items():
        if len(name) > 4 or number not in longest:
            longest[number] = name
    names = sorted(name for name in longest.values() if name not in ("UNKNOWN", "KATAKANAORHIRAGANA"))
    return [("UNKNOWN", ""), *((name, rf"\p{{Script={name}}}") for name in names)]


def two_stage(table: list) -> tuple[tuple, bytes, bytes]:
    """(values, index, blocks): the value of a code point is values[blocks[index[point // 64] * 64 + point % 64]]."""
    values = tuple(dict.fromkeys(table))
    if len(values) > 256:
        raise SystemExit(f"{len(values)} values do not fit in a byte")
    number = {value: n for n, value in enumerate(values)}
    flat = bytes(map(number.__getitem__, table))
    numbers: dict[bytes, int] = {}
    index = [numbers.setdefault(flat[i : i + BLOCK], len(numbers)) for i in range(0, len(flat), BLOCK)]
    return values, struct.pack(f"<{len(index)}H", *index), b"".join(numbers)


def literal(data: bytes) -> str:
    text = base64.b85encode(zlib.compress(data, 9)).decode("ascii")
    return "\n".join(f'    "{text[i : i + 112]}"' for i in range(0, len(text), 112))


def version() -> str:
    description = importlib.metadata.distribution("regex").read_text("METADATA")
    found = re.search(r"supports Unicode (\d+\.\d+\.\d+)", str(description))
    if not found:
        raise SystemExit("the description of the regex package does not name its Unicode version")
    return found[1]


def render() -> str:
    records, index, blocks = two_stage(list(zip(*(classify(values) for _, values in PROPERTIES), strict=True)))
    names, script_index, script_blocks = two_stage(classify(scripts()))
    fields = "\n".join(f"    {name}: {type(values[0][0]).__name__}" for name, values in PROPERTIES)
    rows = "\n".join(f"    Record({', '.join(map(repr, record))}),".replace("'", '"') for record in records)
    written = "\n".join(f'    "{line} "' for line in textwrap.wrap(" ".join(names), 112))
    return f'''"""What this package asks of every code point in Unicode {version()}. Written by _unicode_generate.py.

RECORDS[record(point)] is its general category, White_Space, Alphabetic, Word_Break, Sentence_Break and
Extended_Pictographic; SCRIPTS[script(point)] is its script, in capitals and without underscores. Both tables have two
stages: a block of 64 code points that occurs twice is stored once.
"""

import base64
import struct
import zlib
from functools import cache
from typing import NamedTuple

VERSION = "{version()}"
SIZE = 0x110000


class Record(NamedTuple):
{fields}


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b85decode(text))


def record(point: int) -> int:
    """The number of a code point's record."""
    return BLOCKS[INDEX[point >> 6] << 6 | point & 63]


def script(point: int) -> int:
    """The number of a code point's script."""
    return SCRIPT_BLOCKS[SCRIPT_INDEX[point >> 6] << 6 | point & 63]


@cache
def flat() -> bytes:
    """The number of every code point's record, in a row."""
    return b"".join(BLOCKS[block << 6 : block + 1 << 6] for block in INDEX)


@cache
def members(field: str, *values: object) -> bytes:
    """For each number of a record: 1 if its `field` is one of `values`, else 0. As bytes.translate takes it."""
    return bytes(getattr(one, field) in values for one in RECORDS).ljust(256, b"\\0")


RECORDS = (
{rows}
)
# fmt: off
INDEX = struct.unpack("<{len(index) // 2}H", unpacked(
{literal(index)}
))
BLOCKS = unpacked(
{literal(blocks)}
)
SCRIPTS = (
{written}
).split()
SCRIPT_INDEX = struct.unpack("<{len(script_index) // 2}H", unpacked(
{literal(script_index)}
))
SCRIPT_BLOCKS = unpacked(
{literal(script_blocks)}
)
'''


def main() -> None:
    path = Path(__file__).with_name("_unicode.py")
    text = render()
    if "--check" not in sys.argv[1:]:
        path.write_text(text, encoding="ascii")
    elif path.read_text(encoding="ascii") != text:
        raise SystemExit(f"{path.name} differs from what the installed regex package gives")


if __name__ == "__main__":
    main()
