r"""Test error against the size of a model, through the size at which it fits the training rows exactly.

``kind="features"``: :math:`p` random Fourier features and the least squares solution of smallest norm,

.. math:: \hat W = \Phi^+ Y , \quad \Phi \in R^{n \times p} ,

one column of ``Y`` for each class; beside it ridge regression, whose penalty is chosen by leaving out one row
at a time in closed form. ``kind="mlp"``: networks of one hidden layer with :math:`p` units.

Source: Belkin, Hsu, Ma and Mandal (2019), Reconciling modern machine-learning practice and the classical
bias-variance trade-off, PNAS 116; Nakkiran et al. (2020), Deep double descent, ICLR.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.kernel_approximation import RBFSampler

from nonparam.errors import InputError
from nonparam.labels import check_labels
from nonparam.networks.descent_report import DescentReport
from nonparam.networks.finite_classification import FiniteNetworkClassifier
from nonparam.validation import check_choice, check_count, check_numbers

__all__ = ["double_descent"]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

KINDS = ("features", "mlp")
RATIOS = (0.05, 0.1, 0.15, 0.25, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1, 1.3, 1.7, 2.5, 4.0, 6.0, 10.0)  # p over n
WIDTHS = (2, 4, 8, 16, 24, 32, 48, 64, 128, 256)
PENALTIES = np.logspace(-8, 4, 49)  # of ridge regression, times the mean square of a singular value
SMALLEST = 1e-12  # of the largest singular value: below it there is rounding only
EPOCHS = 300


class _Split(NamedTuple):
    """Rows to train on with some wrong labels, and rows to test on with right ones."""

    x: Array
    codes: Codes
    new: Array
    new_codes: Codes


class _Measured(NamedTuple):
    """What one size and one seed lead to."""

    train_error: float
    error: float
    loss: float
    ridged: float
    norm: float


def double_descent(
    kind: Literal["features", "mlp"],
    X: Any,
    y: Any,
    *,
    sizes: Sequence[int] | None = None,
    n: int = 300,
    label_noise: float = 0.15,
    seeds: int = 5,
) -> DescentReport:
    """Measure test errors of models of growing size, trained until they fit what they can.

    Args:
        kind: ``"features"``, or ``"mlp"`` for networks of one hidden layer.
        X: ``(N, d)``.
        y: ``(N,)`` labels.
        sizes: numbers of features, or widths; by default from a twentieth of ``n`` to ten times it, or from 2
            to 256.
        n: rows to train on; all others are tested on.
        label_noise: the part of the training labels that are drawn anew, uniformly among the other classes.
        seeds: how often rows, noise and weights are drawn.

    Returns:
        The report, with intervals over the seeds.

    Raises:
        InputError: arguments that cannot be, such as more rows to train on than there are.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> report = double_descent("features", *load_digits(return_X_y=True), sizes=(30, 100, 1000), n=100)
        >>> report.peak
        100
    """
    check_choice(kind, "kind", KINDS)
    x = np.asarray(check_numbers(X, "X"), dtype=np.float64)
    classes, codes = check_labels(y, len(x))
    _check_counts(len(x), n, seeds, label_noise)
    sizes = _sizes(kind, sizes, n)
    measure = _features if kind == "features" else _networks
    found = []
    for seed in range(seeds):
        split = _split(x, codes, len(classes), n, label_noise, np.random.RandomState(seed))
        found.append(measure(split, len(classes), sizes, seed))
    table = np.array(found).transpose(2, 1, 0)  # figures, sizes, seeds
    return DescentReport(kind, tuple(sizes), n, label_noise, *table)


def _check_counts(rows: int, n: int, seeds: int, label_noise: float) -> None:
    check_count(n, "n", least=2)
    check_count(seeds, "seeds", least=2)
    if n >= rows:
        raise InputError(f"n must leave rows to test on, got {n} of {rows} rows")
    if not 0.0 <= label_noise < 1.0:
        raise InputError(f"label_noise must be a part of the labels, from 0 to 1; got {label_noise!r}")


def _sizes(kind: str, sizes: Sequence[int] | None, n: int) -> list[int]:
    if sizes is None:
        return [max(1, round(ratio * n)) for ratio in RATIOS] if kind == "features" else list(WIDTHS)
    found = sorted(set(sizes))
    for size in found:
        check_count(size, "sizes", least=1)
    if len(found) < 3:
        raise InputError(f"sizes must be three or more, below, at and beyond the peak; got {list(sizes)}")
    return [int(size) for size in found]


def _split(
    x: Array, codes: Codes, classes: int, n: int, label_noise: float, rng: np.random.RandomState
) -> _Split:
    order = rng.permutation(len(x))
    train, test = order[:n], order[n:]
    seen = codes[train].copy()
    wrong = rng.permutation(n)[: round(label_noise * n)]
    seen[wrong] = (seen[wrong] + rng.randint(1, classes, len(wrong))) % classes
    return _Split(x[train], seen, x[test], codes[test])


def _features(split: _Split, classes: int, sizes: Sequence[int], seed: int) -> list[_Measured]:
    sampler = RBFSampler(gamma="scale", n_components=max(sizes), random_state=seed).fit(split.x)
    phi, new = sampler.transform(split.x), sampler.transform(split.new)
    own, truth = np.eye(classes)[split.codes], np.eye(classes)[split.new_codes]
    return [_least_squares(phi[:, :p], new[:, :p], own, truth) for p in sizes]


def _least_squares(phi: Array, new: Array, own: Array, truth: Array) -> _Measured:
    """Solve by singular values: the solution of smallest norm, and the best one with a penalty."""
    left, s, right = np.linalg.svd(phi, full_matrices=False)
    kept = s > SMALLEST * s[0]
    left, s, right = left[:, kept], s[kept], right[kept]
    inner, projected = left.T @ own, new @ right.T
    weights = inner / s[:, None]
    fitted, found = left @ inner, projected @ weights
    shrunk = s**2 / (s**2 + _best_penalty(left, s, inner, own))
    ridged = projected @ (shrunk[:, None] * weights)
    return _Measured(
        train_error=_wrong(fitted, own),
        error=_wrong(found, truth),
        loss=float(np.mean((found - truth) ** 2)),
        ridged=float(np.mean((ridged - truth) ** 2)),
        norm=float(np.linalg.norm(weights)),
    )


def _best_penalty(left: Array, s: Array, inner: Array, own: Array) -> float:
    r"""Return the penalty with the smallest squared error of rows left out.

    .. math:: y_i - \hat y_{-i} = (y_i - \hat y_i) / (1 - H_{ii}), \quad
              H = U \frac{S^2}{S^2 + \lambda} U^\top

    Source: Hastie, Tibshirani and Friedman (2009), The elements of statistical learning, equation 7.64.
    """
    penalties, losses = PENALTIES * np.mean(s**2), []
    for penalty in penalties:
        shrunk = s**2 / (s**2 + penalty)
        left_out = 1.0 - (left**2) @ shrunk
        residuals = (own - left @ (shrunk[:, None] * inner)) / left_out[:, None]
        losses.append(np.mean(residuals**2))
    return float(penalties[int(np.argmin(losses))])


def _wrong(scores: Array, truth: Array) -> float:
    return float(np.mean(scores.argmax(1) != truth.argmax(1)))


def _networks(split: _Split, classes: int, sizes: Sequence[int], seed: int) -> list[_Measured]:
    return [_network(split, classes, width, seed) for width in sizes]


def _network(split: _Split, classes: int, width: int, seed: int) -> _Measured:
    model = FiniteNetworkClassifier((width,), epochs=EPOCHS, random_state=seed).fit(split.x, split.codes)
    own, truth = np.eye(classes)[split.codes], np.eye(classes)[split.new_codes]
    shares = np.zeros((2, max(len(own), len(truth)), classes))
    shares[0, : len(own), model.classes_] = model.predict_proba(split.x).T
    shares[1, : len(truth), model.classes_] = model.predict_proba(split.new).T
    found = shares[1, : len(truth)]
    return _Measured(
        train_error=_wrong(shares[0, : len(own)], own),
        error=_wrong(found, truth),
        loss=float(np.mean((found - truth) ** 2)),
        ridged=np.nan,
        norm=float(model.networks_.members.flat().norm()),
    )
