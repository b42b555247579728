"""What turns pieces into ids: each class is a Model."""

from tinyllm.tokenizers.registry import lazy

STAGES = {
    "BPE": "bpe",
    "SentencePieceBPE": "sentencepiece_bpe",
    "Unigram": "unigram",
    "WordLevel": "wordlevel",
    "WordPiece": "wordpiece",
}

__getattr__ = lazy(__name__, STAGES)
