"""torch.nn.utils: gradient clipping, which lives with the optimizers."""

from ..optim.clip import clip_grad_norm_, clip_grad_value_

__all__ = ["clip_grad_norm_", "clip_grad_value_"]
