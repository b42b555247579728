"""Writes _nmt_nfkc.py: SentencePiece's default rules, generated as its builder.cc does from Unicode data in packages.

    pip install unicodedata2==17.0.0 regex
    python -m tinyllm.tokenizers.normalizers._nmt_nfkc_generate     # a minute

Unicode 17 is what SentencePiece 0.2.3 has; the rules are then the same, all 225,276 of them, which an oracle test
holds. Run by hand when SentencePiece moves on.
"""

from __future__ import annotations

import base64
import importlib
import lzma
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any

from tinyllm.tokenizers.normalizers.darts import compiled

SPACES = "\t\n\f\r\u061c\u1680\u200b\u200c\u200e\u200f\u2028\u2029\u2581\ufeff\ufffd"  # not U+200D
REMOVED = "".join(map(chr, [*range(0x01, 0x09), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F]))
KEPT = "\uff5e"  # the full-width tilde, which Japanese uses otherwise than ~
CHARACTERS = [chr(p) for p in range(1, 0x110000) if not 0xD800 <= p < 0xE000]


def nfkc(data: Any) -> dict[str, str]:
    """Every character that NFKC changes, and every way to spell what composes, where shorter rules would not do."""
    rules: dict[str, str] = {}
    spellings: dict[str, list[str]] = defaultdict(list)  # of each character of decomposed text
    sequences = set()
    for c in CHARACTERS:
        composed, decomposed = data.normalize("NFKC", c), data.normalize("NFKD", c)
        if composed != c:
            rules[c] = composed
        if len(decomposed) == 1:
            spellings[decomposed].append(c)
        else:
            sequences.add(decomposed)
    for sequence in sequences:
        composed = data.normalize("NFKC", sequence)
        if composed != sequence:
            for spelled in map("".join, product(*[spellings[c] for c in sequence])):
                if spelled != composed:
                    rules[spelled] = composed
    return needed(rules)


def needed(rules: dict[str, str]) -> dict[str, str]:
    """The rules without those whose effect shorter rules have."""
    kept: dict[str, str] = {}
    for key in sorted(rules, key=len):
        if len(key) == 1 or applied(kept, key, len(key) - 1) != rules[key]:
            kept[key] = rules[key]
    return kept


def applied(rules: dict[str, str], text: str, longest: int) -> str:
    """At each place the longest rule of at most `longest` characters."""
    out, start = [], 0
    while start < len(text):
        for end in range(min(start + longest, len(text)), start, -1):
            if (new := rules.get(text[start:end])) is not None:
                break
        else:
            new = text[start]
        out.append(new)
        start = end
    return "".join(out)


def nmt(rules: dict[str, str]) -> dict[str, str]:
    """The rules, and those for neural machine translation."""
    merged = rules | dict.fromkeys(SPACES, " ") | dict.fromkeys(REMOVED, "")
    del merged[KEPT]
    return needed(merged)


def folded(rules: dict[str, str], fold: dict[str, str]) -> dict[str, str]:
    """The rules with results in folded case, and folding for all characters that have no rule."""
    merged = {key: "".join([fold.get(c, c) for c in new]) for key, new in rules.items()}
    return needed({c: new for c, new in fold.items() if c not in rules} | merged)


def simple_folding(data: Any) -> dict[str, str]:
    """Case folding, one character for one (ß stays), of the characters that `data` knows: from the package regex,
    which has no public function for it.
    """
    regex = importlib.import_module("regex._regex")
    fold = {c: regex.fold_case(0x22, c) for c in CHARACTERS if data.category(c) != "Cn"}  # IGNORECASE | UNICODE
    return {c: new for c, new in fold.items() if new != c} | {"I": "i"}  # which regex leaves for Turkish's sake


def literal(data: bytes) -> str:
    text = base64.b85encode(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)).decode("ascii")
    return "\n".join(f'    "{text[i : i + 100]}"' for i in range(0, len(text), 100))


def main() -> None:
    data = importlib.import_module("unicodedata2")
    rules = nmt(nfkc(data))
    Path(__file__).with_name("_nmt_nfkc.py").write_text(
        f'''"""SentencePiece's rules nmt_nfkc and nmt_nfkc_cf as compressed tables (charsmap.py), of Unicode
{data.unidata_version}. Written by _nmt_nfkc_generate.py.
"""

NMT_NFKC = (
{literal(compiled(rules))}
)
NMT_NFKC_CF = (
{literal(compiled(folded(rules, simple_folding(data))))}
)
''',
        encoding="ascii",
    )


if __name__ == "__main__":
    main()
