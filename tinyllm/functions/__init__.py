"""PyTorch's functions over tensors: promotion of dtypes, then one op or a short composition of them.

Each function is also the Tensor method of the same name. Names, argument order and defaults are PyTorch's. What is not
here: creation and the class itself (_tensor.py), and what neural networks add (nn/functional).
"""

from . import contract, elementwise, index, linalg, promote, reduce, shape
from .contract import *  # noqa: F403
from .elementwise import *  # noqa: F403
from .index import *  # noqa: F403
from .linalg import *  # noqa: F403
from .promote import *  # noqa: F403
from .reduce import *  # noqa: F403
from .shape import *  # noqa: F403

__all__: list[str] = []
__all__ += contract.__all__
__all__ += elementwise.__all__
__all__ += index.__all__
__all__ += linalg.__all__
__all__ += promote.__all__
__all__ += reduce.__all__
__all__ += shape.__all__
