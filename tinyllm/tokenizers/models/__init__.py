"""What turns pieces into ids: each class is a Model."""

from tinyllm.tokenizers.registry import lazy

STAGES = {
    "BPE": "bpe",
    "WordLevel": "wordlevel",
    "Unigram": "unigram",
    "WordPiece": "wordpiece",
}

__getattr__ = lazy(__name__, STAGES)
