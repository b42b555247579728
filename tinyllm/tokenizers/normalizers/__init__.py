"""What changes text before it is cut: each class is a Normalizer."""

from tinyllm.tokenizers.registry import lazy

STAGES: dict[str, str] = {}

__getattr__ = lazy(__name__, STAGES)
