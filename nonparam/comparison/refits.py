r"""What a model that only predicts says of rows held out together: the chain rule, a refit for each step.

.. math:: \log p(y_T \mid y_S) = \sum_j \log p(y_{t_j} \mid y_S, y_{t_1}, \dots, y_{t_{j-1}})

Every factor is the density that the model, fitted afresh to what is behind the bar, has for the next row.
That is a joint density, whatever is learnt in between, and the log score of forecasts made in turn.

Source: Dawid (1984), Statistical theory: the prequential approach, Journal of the Royal Statistical Society A
147, 278-292.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import _safe_indexing

from nonparam.errors import InputError
from nonparam.model_selection.joint import HeldOut

__all__ = ["Refits"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Refits:
    """Predictions of a scikit-learn regressor, fitted afresh to every set of rows.

    Attributes:
        name: in errors.
        model: is cloned; its ``predict`` takes ``return_std=True``.
        X: ``(n, d)``, whatever the model takes.
        y: ``(n,)``.
    """

    name: str
    model: Any
    X: Any
    y: Array

    def predict(self, train: Rows, test: Rows) -> tuple[Array, Array]:
        """Return mean and standard deviation of new observations, ``(m,)`` each, in units of ``y``.

        Raises:
            InputError: the model has no predictive standard deviation, or one that is no positive number.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of each of hundreds of fits
            fitted = clone(self.model).fit(_safe_indexing(self.X, train), self.y[train])
        return moments(self.name, fitted, _safe_indexing(self.X, test))

    def held_out(self, sets: Sequence[Rows]) -> list[HeldOut]:
        """Return what the model says of each set of rows, given all the others."""
        return [self._held_out(np.asarray(rows)) for rows in sets]

    def _held_out(self, rows: Rows) -> HeldOut:
        others = np.setdiff1d(np.arange(len(self.y)), rows)
        mean, sd = self.predict(others, rows)
        alone = norm.logpdf(self.y[rows], mean, sd)
        steps = [alone[0], *(self._next(others, rows[:j], rows[j]) for j in range(1, len(rows)))]
        cdf = norm.cdf(self.y[rows], mean, sd)
        table = (each[:, None] for each in (alone, mean, sd, cdf, self.y[rows] - mean))
        return HeldOut(rows, float(np.sum(steps)), *table)

    def _next(self, others: Rows, seen: Rows, row: np.intp) -> float:
        mean, sd = self.predict(np.concatenate([others, seen]), np.array([row]))
        return float(norm.logpdf(self.y[row], mean[0], sd[0]))


def moments(name: str, fitted: Any, X: Any) -> tuple[Array, Array]:
    """Return what a fitted regressor predicts, ``(m,)`` means and standard deviations.

    Args:
        name: of the model, in errors.
        fitted: whose ``predict`` takes ``return_std=True``.
        X: ``(m, d)``.

    Raises:
        InputError: it does not take that, or a standard deviation is no positive number.
    """
    try:
        mean, sd = fitted.predict(X, return_std=True)
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{name!r} has no predictive standard deviation: expected a regressor whose predict takes"
            f" return_std=True, such as BayesianRidge or GaussianProcessRegressor ({error})"
        ) from error
    check_sd(name, sd)
    return np.asarray(mean, dtype=np.float64).reshape(-1), np.asarray(sd, dtype=np.float64).reshape(-1)


def check_sd(name: str, sd: Any) -> None:
    """Raise `InputError` for predictive standard deviations that give no density.

    Examples:
        >>> check_sd("linear", [0.1, 2.0])
    """
    values = np.asarray(sd, dtype=np.float64)
    bad = ~(np.isfinite(values) & (values > 0.0))
    if bad.any():
        worst, count = values[bad].flat[0], int(bad.sum())
        raise InputError(
            f"{name!r} has a degenerate predictive variance: its standard deviation is {worst:g} in {count}"
            f" of {values.size} rows; add noise to the model, such as a WhiteKernel"
        )
