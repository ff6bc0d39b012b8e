"""What is known of NumPy's ufuncs, and relied on: which give the same bits however their values lie in memory."""

from __future__ import annotations

import numpy as np

#: Ufuncs of real numbers whose result is correctly rounded whatever loop NumPy picks, so that layout and aliasing cannot
#: change bits (but for the sign of a NaN). With complex numbers even a product depends on the loop.
EXACT = frozenset(
    {
        np.add, np.subtract, np.multiply, np.divide, np.negative, np.absolute, np.maximum, np.minimum, np.square,
        np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
        np.logical_and, np.logical_or, np.logical_not, np.floor, np.ceil, np.rint, np.sign, np.sqrt,
    }
)  # fmt: skip
