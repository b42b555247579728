"""The error types of tinyllm.

Each one derives from the built-in that PyTorch or Python would raise in its place, so code written for those keeps
working. A message says what was expected, what came, and what to do.
"""

__all__ = ["CheckpointError", "ConfigError", "DtypeError", "NonFinite", "RankFailure", "ShapeError", "TokenizerError"]


class ShapeError(ValueError, RuntimeError):
    """Shapes, ranks or axes that do not fit an operation. Also a RuntimeError, which is what PyTorch raises."""


class DtypeError(TypeError, RuntimeError):
    """Dtypes that do not fit an operation. Also a RuntimeError, which is what PyTorch raises."""


class CheckpointError(ValueError):
    """A checkpoint or tensor file that is damaged, incomplete, or does not fit the model that asks for it."""


class TokenizerError(ValueError):
    """A tokenizer file, vocabulary or token id that cannot be used."""


class ConfigError(ValueError):
    """A configuration with an unknown key, a wrong type, or values that contradict each other."""


class NonFinite(FloatingPointError):
    """A step of training whose loss or gradient is NaN or infinite. `step` counts from 1; `phase` is where the first
    such number arose: "parameter", "forward", "backward", "norm", or "unknown"; `op` and `where` (a module's path, or
    a parameter's name) say in what, as far as it is known.
    """

    def __init__(self, message: str, step: int = 0, phase: str = "unknown", op: str = "", where: str = ""):
        super().__init__(message)
        self.step, self.phase, self.op, self.where = step, phase, op, where


class RankFailure(RuntimeError):
    """A process of a parallel job died or stopped answering."""
