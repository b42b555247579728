"""What cuts text into pieces: each class is a PreTokenizer."""

from tinyllm.tokenizers.registry import lazy

STAGES: dict[str, str] = {
    "BertPreTokenizer": "classes",
    "ByteLevel": "spaces",
    "CharDelimiterSplit": "split",
    "Digits": "classes",
    "FixedLength": "split",
    "Metaspace": "spaces",
    "Punctuation": "classes",
    "Punkt": "punkt",
    "Sentences": "words",
    "Sequence": "sequence",
    "Split": "split",
    "UnicodeScripts": "classes",
    "Whitespace": "classes",
    "WhitespaceSplit": "classes",
    "Words": "words",
}

__getattr__ = lazy(__name__, STAGES)
