"""English contractions: written out (can't -> can not), split (do|n't, gon|na), or left alone.

    Contractions("expand").normalize(Aligned.of("It's John's.")).text == "It is John's."

"split" puts a space where the Penn Treebank's tokenization does. "expand" must choose: 's is is, has or a possessive,
'd is had, would or did. It looks at the word before and up to three after: a pronoun and a participle give has, a
pronoun and anything else is; after a noun 's is possessive and stays, but where a possessive cannot stand ("John's a
doctor", "the dog's been out"); 'd is had before a participle or "better", did in "how'd you", else would. Rules of
thumb, no parser: "it's broken" gives is, also where has was meant. Put it before what removes apostrophes.

The apostrophes ', U+2019 and U+02BC are one. Case is kept: CAN'T is CAN NOT. What is inserted stands for the clitic.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.normalizers._characters import in_case_of
from tinyllm.tokenizers.stage import Normalizer

Edit = tuple[int, int, str]

MODES = ("expand", "split", "keep")
MARK = "['\u2019\u02bc]"
CLITICS = {"ll": "will", "ve": "have", "re": "are", "m": "am"}
# Whole words: where they are split, and what they stand for.
WORDS = {
    "'tis": ("'t|is", "it is"),
    "'twas": ("'t|was", "it was"),
    "'twere": ("'t|were", "it were"),
    "'twill": ("'t|will", "it will"),
    "'twould": ("'t|would", "it would"),
    "'em": ("'em", "them"),
    "'cause": ("'cause", "because"),
    "cannot": ("can|not", "can not"),
    "gonna": ("gon|na", "going to"),
    "gotta": ("got|ta", "got to"),
    "wanna": ("wan|na", "want to"),
    "gimme": ("gim|me", "give me"),
    "lemme": ("lem|me", "let me"),
    "dunno": ("dun|no", "do not know"),
    "outta": ("out|ta", "out of"),
    "oughta": ("ought|a", "ought to"),
    "coulda": ("could|a", "could have"),
    "shoulda": ("should|a", "should have"),
    "woulda": ("would|a", "would have"),
    "d'ye": ("d'|ye", "do you"),
    "more'n": ("more|'n", "more than"),
    "y'all": ("y'|all", "you all"),
    "y'all're": ("y'|all're", "you all are"),
    "y'all've": ("y'|all've", "you all have"),
    "let's": ("let|'s", "let us"),
}
NEGATED = {"won": "will", "shan": "shall", "ain": ""}  # before 't; "" depends on the subject
AUXILIARIES = set("do does did is are was were has have had could should would must might may need ought dare".split())

# 's after these is never a possessive.
VERBAL = set("he she it that there here what who where when why how".split())
QUESTIONS = set("what who where when why how".split())
SUBJECTS = set("i you he she it we they".split())
HAVE_D = SUBJECTS | QUESTIONS | {"there", "that", "this"}  # 'd after anything else may be a verb: OK'd
DETERMINERS = set("a an the my your his her its our their this these those some any no every".split())
OBJECTS = DETERMINERS | set("me him us them it everything something nothing all many much".split())
# After a noun's 's: what cannot follow a possessive.
NO_POSSESSIVE = {"a": "is", "an": "is", "the": "is", "my": "is", "your": "is", "our": "is", "their": "is"}
NO_POSSESSIVE |= {"not": "is", "gonna": "is", "been": "has", "got": "has"}
ADVERBS = set("just already never always ever also only still not now recently finally really probably long".split())
SINCE = {"just", "already", "never", "ever", "recently"}
PERFECT = set("been had got gotten become begun come gone arrived happened fallen grown left died risen lived".split())
PARTICIPLES = PERFECT | set(
    "beaten bitten blown bought bound bred broken brought built caught chosen clung dealt done drawn driven drunk "
    "dug eaten felt flown forgiven forgotten fought found frozen given heard held hidden hung kept known laid "
    "lain led lent lost made meant met paid proven ridden rung said sat seen sent shaken shot shown shrunk slept "
    "sold sought spent spoken stolen stood struck stuck sung sunk sworn swum taken taught thought thrown told "
    "torn understood woken won worn written".split()
)
BASES = set("come become need feed seed speed bleed breed heed weed embed shed wed proceed succeed exceed".split())

LETTER = "[^\\W\\d_]"
CONTRACTED = re.compile(
    f"(?<!\\w)(?:{'|'.join(sorted(WORDS, reverse=True))}|{LETTER}{{1,40}}(?:'(?:s|t|m|re|ve|ll|d)){{1,3}})"
    "(?!\\w|'\\w)".replace("'", MARK),
    re.IGNORECASE,
)
CLITIC = re.compile(f"{MARK}{LETTER}+")
NEXT = re.compile(f"[ \t\n\r\xa0]{{1,4}}({LETTER}{{1,20}})(?![\\w-])")
BEFORE = re.compile(f"({LETTER}{{1,20}})[ \t\n\r\xa0]{{1,4}}\\Z")


@dataclass(frozen=True)
class Contractions(Normalizer):
    """`mode`: "expand", "split" or "keep" (which leaves the text as it is)."""

    mode: Literal["expand", "split", "keep"] = "expand"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise TokenizerError(f"the mode of Contractions must be one of {', '.join(MODES)}, not {self.mode!r}")

    def normalize(self, text: Aligned) -> Aligned:
        if self.mode == "keep":
            return text
        edits = _split if self.mode == "split" else _expanded
        return text.edited(edit for found in CONTRACTED.finditer(text.text) for edit in edits(text.text, found))


def _plain(word: str) -> str:
    return re.sub(MARK, "'", word).lower()


def _split(text: str, found: re.Match[str]) -> Iterator[Edit]:
    word = _plain(found.group())
    if word in WORDS:
        cut = WORDS[word][0].find("|")
        if cut > 0:
            yield found.start() + cut, found.start() + cut, " "
        return
    for clitic in CLITIC.finditer(text, *found.span()):
        at = clitic.start()
        if clitic.group()[1:].lower() == "t":
            if text[at - 1] not in "nN" or at - 1 == found.start():
                continue
            at -= 1  # do|n't
        yield at, at, " "


def _expanded(text: str, found: re.Match[str]) -> Iterator[Edit]:
    word = _plain(found.group())
    if word in WORDS:
        yield found.start(), found.end(), in_case_of(WORDS[word][1], found.group())
        return
    host_end = CLITIC.search(text, *found.span()).start()  # type: ignore[union-attr]
    host = text[found.start() : host_end]
    name = host.isupper() and len(host) > 1 and not found.group().isupper()  # the WHO's, a noun
    host = "" if name else host.lower()
    following = _following(text, found.end())
    for clitic in CLITIC.finditer(text, host_end, found.end()):
        letters = clitic.group()[1:]
        rest = ["have"] if text[clitic.end() : found.end()].lower().endswith("ve") else following
        if letters.lower() == "t":
            yield from _negated(text, found.start(), clitic, host, rest)
            continue
        new = _verb(letters.lower(), host, rest)
        if new:
            yield *clitic.span(), " " + (new.upper() if letters.isupper() else new)


def _negated(text: str, start: int, clitic: re.Match[str], host: str, following: list[str]) -> Iterator[Edit]:
    """The edits of "can't", "won't", "ain't" and "do|n't"."""
    at, end = clitic.span()
    no = " NOT" if clitic.group()[1:].isupper() else " not"
    if host == "can":
        yield at, end, no
    elif host in NEGATED:
        yield start, at - 1, in_case_of(NEGATED[host] or _be(text, start, following), text[start:end])
        yield at - 1, end, no
    elif host[:-1] in AUXILIARIES and host[-1] == "n":
        yield at - 1, end, no


def _be(text: str, start: int, following: list[str]) -> str:
    """The verb of "ain't"."""
    before = BEFORE.search(text, max(0, start - 24), start)
    subject = before.group(1).lower() if before else ""
    plural = subject in ("we", "you", "they", "i")
    if following and following[0] in PARTICIPLES:
        return "have" if plural else "has"
    return "am" if subject == "i" else "are" if plural else "is"


def _verb(clitic: str, host: str, following: list[str]) -> str:
    """What the clitic after `host` stands for; "" leaves it."""
    if clitic == "s":
        return _s(host, following)
    if clitic == "d":
        return _d(host, following)
    return CLITICS[clitic] if clitic != "m" or host == "i" else ""


def _s(host: str, following: list[str]) -> str:
    first = following[0] if following else ""
    if host not in VERBAL:
        return NO_POSSESSIVE.get(first, "")
    rest = [word for word in following if word not in ADVERBS]
    if not rest:
        return "is"
    since = any(
        word in ("just", "already", "never", "ever", "recently") for word in following[: following.index(rest[0])]
    )
    if rest[0] in PERFECT or (_participle(rest[0]) and (since or rest[1:] and rest[1] in OBJECTS)):
        return "has"
    return "is"


def _d(host: str, following: list[str]) -> str:
    if host not in HAVE_D:
        return ""
    if host in QUESTIONS and following and following[0] in SUBJECTS | DETERMINERS:
        return "did"
    rest = [word for word in following if word not in ADVERBS]
    return "had" if rest and (rest[0] == "better" or _participle(rest[0])) else "would"


def _participle(word: str) -> bool:
    return word not in BASES and (word in PARTICIPLES or (word.endswith("ed") and len(word) > 3))


def _following(text: str, end: int) -> list[str]:
    """Up to three words that follow in the same clause, in small letters."""
    words: list[str] = []
    while len(words) < 3 and (found := NEXT.match(text, end)):
        words.append(found.group(1).lower())
        end = found.end()
    return words
