"""Rows of the sets of `nonparam.datasets.fetch_uci`, standardised, one of the published folds to test on."""

import numpy as np

from nonparam.datasets import fetch_uci

TEST_ROWS = 2000
Table = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def table(name: str, fold: int, n: int, seed: int) -> Table:
    """Return a fold, standardised, with at most ``n`` rows to train on and 2,000 to test on."""
    x, y, new, new_y = fetch_uci(name).split(fold)
    if n and len(x) > n:
        some = np.random.default_rng(seed).choice(len(x), n, replace=False)
        x, y = x[some], y[some]
    centre, spread = x.mean(0), x.std(0)
    kept = spread > 1e-12
    x, new = ((part - centre)[:, kept] / spread[kept] for part in (x, new[:TEST_ROWS]))
    return x, (y - y.mean()) / y.std(), new, (new_y[:TEST_ROWS] - y.mean()) / y.std()
