"""What both sides of `networks.py speed` evaluate; needs numpy only."""

import numpy as np

ROWS, COLUMNS, IMAGES, IMAGE = 5000, 64, 50, (3, 16, 16)
WEIGHT, BIAS = 2.0, 0.05


def rows(n: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, COLUMNS)).astype(np.float32)


def images(n: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, *IMAGE)).astype(np.float32)
