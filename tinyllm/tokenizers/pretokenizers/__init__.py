"""What cuts text into pieces: each class is a PreTokenizer."""

from tinyllm.tokenizers.registry import lazy

STAGES: dict[str, str] = {}

__getattr__ = lazy(__name__, STAGES)
