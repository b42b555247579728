"""What learns a model from counted pieces: each class is a Trainer."""

from tinyllm.tokenizers.registry import lazy

STAGES: dict[str, str] = {
    "BPETrainer": "bpe",
    "UnigramTrainer": "unigram",
    "WordLevelTrainer": "wordlevel",
    "WordPieceTrainer": "wordpiece",
}

__getattr__ = lazy(__name__, STAGES)
