r"""The error of an estimator in two parts: how far its mean is off, and how much it varies with its data.

Over training sets :math:`D`, at a new row :math:`x` with the output :math:`y`,

.. math:: E_D (f_D(x) - y)^2 = (E_D f_D(x) - y)^2 + \mathrm{var}_D f_D(x) .

Of classifiers :math:`f` are the probabilities of the classes and :math:`y` is 1 for the one that came: the
sum over the classes is the Brier score. Noise of the new outputs counts as bias.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.utils import _safe_indexing, check_consistent_length

from nonparam.errors import InputError
from nonparam.labels import check_labels
from nonparam.validation import check_count, check_outputs, check_seed

__all__ = ["BiasVariance", "bias_variance"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BiasVariance:
    """The parts of a mean squared error on new rows, each with its standard error over them.

    Attributes:
        bias: squared, noise of the outputs included.
        variance: over training sets.
        bias_error: standard error of ``bias``.
        variance_error: standard error of ``variance``.
        resamples: training sets.
        rows: rows of each of them.

    Examples:
        >>> print(BiasVariance(0.5, 0.25, 0.02, 0.01, resamples=20, rows=100))
        error 0.75 = squared bias 0.5 +/- 0.02 + variance 0.25 +/- 0.01 (20 training sets of 100 rows)
    """

    bias: float
    variance: float
    bias_error: float
    variance_error: float
    resamples: int
    rows: int

    @property
    def error(self) -> float:
        """The mean squared error of one fit."""
        return self.bias + self.variance

    def __str__(self) -> str:
        """Return the sum in a line."""
        return (
            f"error {self.error:.3g} = squared bias {self.bias:.3g} +/- {self.bias_error:.2g} + variance "
            f"{self.variance:.3g} +/- {self.variance_error:.2g} ({self.resamples} training sets of "
            f"{self.rows:,} rows)"
        )


def bias_variance(
    estimator: Any,
    X: Any,
    y: Any,
    resamples: int = 20,
    *,
    train_size: float = 0.5,
    test_size: float = 0.25,
    random_state: int | np.random.RandomState | None = 0,
) -> BiasVariance:
    """Split the error of an estimator on rows that it never sees.

    Training sets are random parts of the other rows; each fit has a seed of its own, where the estimator
    takes one, so that the variance is of both. Sets that share rows vary less than new data would: about by
    the part of the rows that a set has. Take a small ``train_size`` where that matters.

    Args:
        estimator: a regressor, or a classifier with ``predict_proba``; it is not changed.
        X: ``(n, d)``.
        y: ``(n,)`` or ``(n, t)`` outputs, or ``(n,)`` labels.
        resamples: training sets, 2 or more.
        train_size: the part of all rows that each of them has.
        test_size: the part of all rows that are held out from all of them.
        random_state: of the rows and the seeds.

    Raises:
        InputError: parts that leave no row on a side, or a single training set.

    Source: Geman, Bienenstock and Doursat (1992), Neural networks and the bias/variance dilemma, Neural
    Computation 4, 1-58. Both parts are estimated without bias of their own.

    Examples:
        >>> from sklearn.linear_model import LinearRegression
        >>> rng = np.random.default_rng(0)
        >>> X = rng.standard_normal((400, 2))
        >>> y = X[:, 0] + rng.standard_normal(400)
        >>> found = bias_variance(LinearRegression(), X, y)
        >>> 0.7 < found.bias < 1.3, found.variance < 0.05
        (True, True)
    """
    check_count(resamples, "resamples", least=2)
    check_consistent_length(X, y)
    rng, n = check_seed(random_state), len(y)
    held, size = round(test_size * n), round(train_size * n)
    if not (0 < held < n and 0 < size <= n - held):
        raise InputError(
            f"train_size and test_size must leave rows on both sides, and share none: got {train_size} and "
            f"{test_size} of {n} rows"
        )
    classes, targets = _targets(estimator, y)
    order = rng.permutation(n)
    tested, rest = order[:held], order[held:]
    new, found = _safe_indexing(X, tested), []
    for _ in range(resamples):
        some, model = rng.choice(rest, size, replace=False), _seeded(estimator, rng)
        model.fit(_safe_indexing(X, some), _safe_indexing(y, some))
        found.append(_predicted(model, new, classes))
    return _parts(np.stack(found), targets[tested], size)


def _targets(estimator: Any, y: Any) -> tuple[NDArray[Any] | None, Array]:
    """Return the classes, where there are some, and the outputs ``(n, t)``."""
    if is_classifier(estimator):
        classes, codes = check_labels(y, len(y))
        return classes, np.eye(len(classes))[codes]
    return None, check_outputs(y, len(y)).reshape(len(y), -1)


def _seeded(estimator: Any, rng: np.random.RandomState) -> Any:
    """Return a copy with a seed of its own, also within a pipeline."""
    model = clone(estimator)
    names = [name for name in model.get_params() if name.split("__")[-1] == "random_state"]
    return model.set_params(**{name: int(rng.randint(2**31 - 1)) for name in names})


def _predicted(model: Any, new: Any, classes: NDArray[Any] | None) -> Array:
    if classes is None:
        return np.asarray(model.predict(new), dtype=np.float64).reshape(len(new), -1)
    shares = np.zeros((len(new), len(classes)))  # a training set may lack a class
    shares[:, np.searchsorted(classes, model.classes_)] = model.predict_proba(new)
    return shares


def _parts(predictions: Array, y: Array, rows: int) -> BiasVariance:
    """Return the parts for predictions ``(r, m, t)`` of outputs ``(m, t)``."""
    r, m = predictions.shape[:2]
    variance = predictions.var(0, ddof=1).sum(1)
    bias = ((predictions.mean(0) - y) ** 2).sum(1) - variance / r  # the mean of r fits varies itself
    errors = [float(each.std(ddof=1) / np.sqrt(m)) if m > 1 else np.inf for each in (bias, variance)]
    return BiasVariance(float(bias.mean()), float(variance.mean()), errors[0], errors[1], r, rows)
