"""Grapheme clusters: what a reader calls one character, "e" with U+0301, or a family of emoji. UAX #29, section 3.

    [found.group() for found in clusters().finditer("e\\u0301\\r\\nx")] == ["e\\u0301", "\\r\\n", "x"]

One regular expression, its classes from the general categories as the report defines them (table 2). Near enough for
what needs it (`Precompiled`, which asks for clusters below six bytes): pictographs and the conjuncts of Indian scripts
are ranges, not the exact properties.
"""

from __future__ import annotations

import re
from functools import cache
from unicodedata import category

from tinyllm.tokenizers.normalizers._characters import assigned, ranges

PREPENDED = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0xD4E, 0x110BD, 0x110CD, 0x111C2, 0x111C3}
PREPENDED |= {0x113D1, 0x1193F, 0x11941, 0x11A3A, *range(0x11A84, 0x11A8A), 0x11D46, 0x11F02}
NO_MARK = {0x102B, 0x102C, 0x1038, *range(0x1062, 0x1065), *range(0x1067, 0x106E), 0x1083, *range(0x1087, 0x108D)}
NO_MARK |= {0x108F, *range(0x109A, 0x109D), 0x1A61, 0x1A63, 0x1A64, 0xAA7B, 0xAA7D, 0x11720, 0x11721}
MORE_MARKS = {0x200C, 0x200D, 0xE33, 0xEB3, 0xFF9E, 0xFF9F, *range(0x1F3FB, 0x1F400), *range(0xE0020, 0xE0080)}
PICTURE = "[©®‼⁉™ℹ↔-↙↩↪⌚-⏳Ⓜ▪▫▶◀◻-◾☀-➿⤴⤵⬅-⭕〰〽㊗㊙🀀-🇥🈀-🏺🐀-🿽]"
CONSONANT = (
    "["
    "\u0915-\u0939\u0958-\u095f\u0978-\u097f\u0995-\u09a8\u09aa-\u09b0\u09b2\u09b6-\u09b9"
    "\u09dc-\u09dd\u09df\u09f0-\u09f1\u0a95-\u0aa8\u0aaa-\u0ab0\u0ab2-\u0ab3\u0ab5-\u0ab9"
    "\u0af9\u0b15-\u0b28\u0b2a-\u0b30\u0b32-\u0b33\u0b35-\u0b39\u0b5c-\u0b5d\u0b5f"
    "\u0b71\u0c15-\u0c28\u0c2a-\u0c39\u0c58-\u0c5a\u0d15-\u0d3a"
    "]"
)
LINKER = "[\u094d\u09cd\u0acd\u0b4d\u0c4d\u0d4d]"


@cache
def clusters() -> re.Pattern[str]:
    """Matches one cluster at a time; every character is in one."""
    controls, marks, syllables = [], [], []
    for p in assigned():
        kind = category(chr(p))
        if p in PREPENDED:
            continue
        if (kind[0] == "M" and p not in NO_MARK) or p in MORE_MARKS:
            marks.append(p)
        elif kind in ("Cc", "Cf", "Zl", "Zp") or (0xE0000 <= p < 0xE1000):
            controls.append(p)
    syllables = [p for p in range(0xAC00, 0xD7A4) if (p - 0xAC00) % 28 == 0]
    control, mark, lv = (f"[{ranges(points)}]" for points in (controls, marks, syllables))
    lead, vowel, tail = "[\u1100-\u115f\ua960-\ua97c]", "[\u1160-\u11a7\ud7b0-\ud7c6]", "[\u11a8-\u11ff\ud7cb-\ud7fb]"
    hangul = f"{lead}*(?:{lv}{vowel}*|{vowel}+|(?!{lv})[\uac00-\ud7a3]){tail}*|{lead}+|{tail}+"
    emoji = f"{PICTURE}(?:{mark}*(?<=\u200d){PICTURE})*"
    conjunct = f"{CONSONANT}(?:(?={mark}*{LINKER}){mark}+{CONSONANT})*"
    core = f"{hangul}|[🇦-🇿]{{2}}|{emoji}|{conjunct}|(?!{control})[\\s\\S]"
    return re.compile(f"\r\n|{control}|[{ranges(sorted(PREPENDED))}]*(?:{core}){mark}*|[\\s\\S]")
