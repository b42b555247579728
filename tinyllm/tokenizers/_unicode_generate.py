"""Writes _unicode.py: the class of every code point, from the Unicode data inside the `regex` package.

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
import sys
import zlib
from pathlib import Path

CLASSES = (  # index = class number; the first is everything that no pattern names
    ("OTHER", r""),
    ("LU", r"\p{Lu}"),
    ("LL", r"\p{Ll}"),
    ("LT", r"\p{Lt}"),
    ("LM", r"\p{Lm}"),
    ("LO", r"\p{Lo}"),
    ("MARK", r"\p{M}"),
    ("NUMBER", r"\p{N}"),
    ("SPACE", r"\s"),
)
BLOCK = 128


def classify() -> bytes:
    """One class number for each of the 0x110000 code points."""
    regex = importlib.import_module("regex")
    table = bytearray(0x110000)
    # surrogates stay OTHER: they never occur in text, and stand for invalid bytes where text was bytes
    characters = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    for number, (name, pattern) in enumerate(CLASSES):
        for match in regex.finditer(pattern, characters) if pattern else ():
            point = ord(match.group())
            if table[point]:
                raise SystemExit(f"U+{point:04X} is both {CLASSES[table[point]][0]} and {name}")
            table[point] = number
    return bytes(table)


def two_stage(table: bytes) -> tuple[bytes, bytes]:
    """stage1[point // 128] is the number of the block of stage2 that holds the point's class."""
    numbers: dict[bytes, int] = {}
    stage1 = bytes(numbers.setdefault(table[i : i + BLOCK], len(numbers)) for i in range(0, len(table), BLOCK))
    return stage1, b"".join(numbers)


def literal(data: bytes) -> str:
    text = base64.b85encode(zlib.compress(data, 9)).decode("ascii")
    return "\n".join(f'    "{text[i : i + 100]}"' for i in range(0, len(text), 100))


def render() -> str:
    description = importlib.metadata.distribution("regex").read_text("METADATA")
    found = re.search(r"supports Unicode (\d+\.\d+\.\d+)", str(description))
    if not found:
        raise SystemExit("the description of the regex package does not name its Unicode version")
    stage1, stage2 = two_stage(classify())
    names = "\n".join(f"{name} = {number}" for number, (name, _) in enumerate(CLASSES))
    return f'''"""The class of every code point in Unicode {found[1]}. Written by _unicode_generate.py.

STAGE2[STAGE1[point >> 7] << 7 | point & 127] is one of the numbers below: the general categories
that split patterns name (M and N whole), White_Space, and the rest.
"""

import base64
import zlib

VERSION = "{found[1]}"

{names}

STAGE1 = zlib.decompress(
    base64.b85decode(
{literal(stage1).replace("    ", "        ")}
    )
)
STAGE2 = zlib.decompress(
    base64.b85decode(
{literal(stage2).replace("    ", "        ")}
    )
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
