"""Optimizers, learning-rate schedules and gradient clipping, with PyTorch's names, defaults and formulas."""

from . import lr_scheduler
from .adam import Adam, AdamW
from .clip import clip_grad_norm_, clip_grad_value_, clip_scale, grad_norm
from .optimizer import Optimizer, weight_decay_groups
from .sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_scale",
    "grad_norm",
    "lr_scheduler",
    "weight_decay_groups",
]
