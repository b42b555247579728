"""What changes text before it is cut: each class is a Normalizer.

    Sequence([NFD(), Lowercase(), StripAccents()]).normalize(Aligned.of("Café")).text == "cafe"

They compose in any order; one that serves most texts is: unwanted characters, Unicode form, contractions, case,
accents, punctuation, whitespace. Case, categories and forms are those of the Unicode version of this Python
(`unicodedata.unidata_version`); a character assigned later is left as it is.
"""

from tinyllm.tokenizers.registry import lazy

STAGES = {
    "BertNormalizer": "bert",
    "ByteLevel": "literal",
    "CaseFold": "case",
    "CollapseWhitespace": "whitespace",
    "Contractions": "contractions",
    "Lemmatize": "linguistic",
    "Lowercase": "case",
    "NFC": "unicode",
    "NFD": "unicode",
    "NFKC": "unicode",
    "NFKD": "unicode",
    "Nmt": "unicode",
    "Precompiled": "precompiled",
    "Prepend": "literal",
    "PrunePunctuation": "punctuation",
    "RemoveAccents": "accents",
    "Replace": "literal",
    "SentencePieceNormalizer": ".sentencepiece",
    "Sequence": "literal",
    "Stem": "linguistic",
    "Strip": "whitespace",
    "StripAccents": "accents",
}

__getattr__ = lazy(__name__, STAGES)
