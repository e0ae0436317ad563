r"""How well a model explains its data, and how well it predicts some of them from the others.

* `lml`: :math:`\log p(y \mid \hat\theta)`, what the model expected before it saw the data;
* `prequential`: its increments :math:`\log p(y_i \mid y_{1:i-1})`, row by row;
* `clml`: :math:`\log p(y_{m+1:n} \mid y_{1:m})`, the last increments together, over random orders;
* `loo`: :math:`\log p(y_i \mid y_{-i})`, each row given all others;
* `k_fold`: the same for parts of the rows, each row by itself given those outside of its part;
* `bic`, `aic`: the first, less what each parameter costs.

Hyperparameters are fixed at their fitted values, or, with ``refitted=True``, fitted anew to each set of rows
that is conditioned on. Fixed ones have seen the rows that they predict, which flatters models with many.

Source: Lotfi, Izmailov, Benton, Goldblum and Wilson (2022), Bayesian model selection, the marginal
likelihood, and generalization, ICML; Fong and Holmes (2020), On the marginal likelihood and cross-validation,
Biometrika 107, 489-496.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import KFold
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples, check_is_fitted

from nonparam.errors import InputError
from nonparam.model_selection.held_out import HeldOutRows
from nonparam.model_selection.joint import HeldOut, Rows, checked_order

__all__ = [
    "Score",
    "aic",
    "bic",
    "clml",
    "effective_parameters",
    "folds",
    "k_fold",
    "lml",
    "loo",
    "prequential",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """A log density of rows that were held out, in nats per row: the larger the better.

    Attributes:
        value: the mean.
        standard_error: of it; over orders for `clml`, over rows else.
        gap: by how much the joint densities of the sets are above the product of their rows' own, in nats per
            row. Where it is 0, the conditional marginal likelihood is the log loss of a validation set.
        held_out: what was said of each set of rows.
    """

    value: float
    standard_error: float
    gap: float
    held_out: tuple[HeldOut, ...] = field(repr=False)

    def by_row(self, name: str) -> Array:
        """Return ``"log_densities"``, ``"residual"``, ``"mean"``, ``"sd"`` or ``"cdf"`` of every row.

        In the order of the rows, ``(n, t)``, where each was held out once.
        """
        rows = np.concatenate([held.rows for held in self.held_out])
        table: Array = np.concatenate([getattr(held, name) for held in self.held_out])
        return table[np.argsort(rows)]


def lml(model: Any, X: Any = None, y: Any = None) -> float:
    """Return the log marginal likelihood at the fitted hyperparameters, in nats.

    The coefficients of the mean are integrated out, under a flat prior of density 1 for a unit of ``y``; with
    ``mean="zero"`` this is ``log_marginal_likelihood_``, which is their maximum else.

    Args:
        model: a regressor of ours; fitted, where no data are given.
        X: ``(n, d)``; with data, a clone is fitted to them.
        y: ``(n,)``.

    Examples:
        >>> from nonparam import GPRegressor
        >>> X = np.linspace(0.0, 6.0, 20)[:, None]
        >>> model = GPRegressor("rbf", mean="zero").fit(X, np.sin(X[:, 0]) + 0.1 * np.cos(50.0 * X[:, 0]))
        >>> bool(np.isclose(lml(model), model.log_marginal_likelihood_))
        True
    """
    return float(_fitted(model, X, y).joint_density().log_density())


def prequential(
    model: Any,
    X: Any = None,
    y: Any = None,
    *,
    order: Rows | None = None,
    refitted: bool = False,
    start: int = 10,
) -> Array:
    """Return the log density of each row given those before it, in nats.

    Args:
        model: as for `lml`, as the data; these are needed where hyperparameters are refitted.
        X: see there.
        y: see there.
        order: ``(n,)``, of the rows; as they are by default.
        refitted: whether hyperparameters are fitted anew to the rows before each: ``n - start`` fits.
        start: with ``refitted``, the first row that is predicted: so many are fitted to first.

    Returns:
        ``(n - m,)``: the first ``m`` rows, as many as the mean has coefficients, only determine these. They
        add up to `lml`, unless the mean is linear: then to that less the density of these rows. With
        ``refitted``, ``(n - start,)``.

    Raises:
        InputError: an order that does not name every row once, or a start that leaves no row.

    Source: Dawid (1984), Statistical theory: the prequential approach, J. R. Statist. Soc. A 147, 278-292.

    Examples:
        >>> from nonparam import GPRegressor
        >>> X = np.linspace(0.0, 6.0, 20)[:, None]
        >>> model = GPRegressor("rbf", mean="zero").fit(X, np.sin(X[:, 0]) + 0.1 * np.cos(50.0 * X[:, 0]))
        >>> bool(np.isclose(prequential(model).sum(), lml(model)))
        True
    """
    if refitted:
        return _refitted_in_turn(model, X, y, order, start)
    joint = _fitted(model, X, y).joint_density()
    found: Array = joint.increments(np.arange(joint.n) if order is None else order)
    return found


def clml(
    model: Any,
    X: Any = None,
    y: Any = None,
    *,
    fraction: float = 0.9,
    n_orderings: int = 20,
    refitted: bool = False,
    random_state: int = 0,
) -> Score:
    r"""Return the conditional marginal likelihood, a mean over random orders.

    .. math:: \log p(y_{m+1:n} \mid y_{1:m}) = \sum_{i > m} \log p(y_i \mid y_{1:i-1})

    Args:
        model: as for `lml`, as the data; these are needed where hyperparameters are refitted.
        X: see there.
        y: see there.
        fraction: of the rows that are conditioned on.
        n_orderings: how many orders.
        refitted: whether hyperparameters are fitted anew to the rows that are conditioned on.
        random_state: seed of the orders: models with the same see the same.

    Raises:
        InputError: a fraction that leaves fewer than two rows on either side.
        NotPositiveDefiniteError: rows that do not determine the mean of the others.

    Examples:
        >>> from nonparam import GPRegressor
        >>> X = np.linspace(0.0, 6.0, 40)[:, None]
        >>> y = np.sin(X[:, 0]) + 0.1 * np.cos(50.0 * X[:, 0])
        >>> clml(GPRegressor("rbf"), X, y).value > clml(GPRegressor("linear"), X, y).value
        True
    """
    rows = HeldOutRows("clml", fraction, n_orderings, random_state)
    found = _held_out(model, X, y, rows, refitted)
    values = np.array([held.log_joint / len(held.rows) for held in found])
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Score(float(values.mean()), float(error), _gap(found), tuple(found))


def loo(model: Any, X: Any = None, y: Any = None, *, refitted: bool = False) -> Score:
    """Return the leave-one-out log density: each row given all others.

    Args:
        model: as for `lml`, as the data; these are needed where hyperparameters are refitted.
        X: see there.
        y: see there.
        refitted: whether hyperparameters are fitted anew without each row: ``n`` fits.

    Raises:
        NotPositiveDefiniteError: a row without which the others do not determine the mean.

    Source: Rasmussen and Williams (2006), equations 5.10 to 5.12.

    Examples:
        >>> from nonparam import GPRegressor
        >>> X = np.linspace(0.0, 6.0, 20)[:, None]
        >>> loo(GPRegressor("rbf"), X, np.sin(X[:, 0])).by_row("residual").shape
        (20, 1)
    """
    return _by_rows(_held_out(model, X, y, HeldOutRows("loo"), refitted))


def k_fold(
    model: Any, X: Any = None, y: Any = None, *, cv: int = 5, refitted: bool = False, random_state: int = 0
) -> Score:
    """Return the cross-validated log density, minus the log loss: each row by itself.

    Args:
        model: as for `lml`, as the data; these are needed where hyperparameters are refitted.
        X: see there.
        y: see there.
        cv: how many parts, of rows at random.
        refitted: whether hyperparameters are fitted anew without each part; with fixed ones one factorisation
            serves all parts.
        random_state: seed of the parts: models with the same see the same.

    Raises:
        InputError: a number of parts that is below 2 or above that of the rows.
        NotPositiveDefiniteError: a part without which the other rows do not determine the mean.

    Examples:
        >>> from nonparam import GPRegressor
        >>> X = np.linspace(0.0, 6.0, 20)[:, None]
        >>> [len(held.rows) for held in k_fold(GPRegressor("rbf"), X, np.sin(X[:, 0]), cv=3).held_out]
        [7, 7, 6]
    """
    return _by_rows(_held_out(model, X, y, _Folds(cv, random_state), refitted))


def folds(n: int, cv: int, random_state: int = 0) -> list[Rows]:
    """Return ``cv`` parts of ``n`` rows at random.

    Raises:
        InputError: fewer parts than 2, or more than rows.

    Examples:
        >>> [part.tolist() for part in folds(4, 2)]
        [[2, 3], [0, 1]]
    """
    if isinstance(cv, bool) or not isinstance(cv, int | np.integer) or not 2 <= cv <= n:
        raise InputError(f"cv must be a whole number from 2 to the {n} rows, got {cv!r}")
    return [part for _, part in KFold(cv, shuffle=True, random_state=random_state).split(np.zeros(n))]


def effective_parameters(model: Any, X: Any = None, y: Any = None) -> float:
    r"""Return how many parameters the fit uses: the trace of what makes fitted values of the outputs.

    .. math:: \mathrm{tr} \, K (K + N)^{-1}

    and one for each coefficient of the mean.

    Args:
        model: as for `lml`, as the data.
        X: see there.
        y: see there.

    Source: Rasmussen and Williams (2006), section 2.6.
    """
    return float(_fitted(model, X, y).joint_density().effective_parameters())


def bic(model: Any, X: Any = None, y: Any = None) -> float:
    r"""Return Schwarz's criterion as a log density, the maximum less :math:`\tfrac12 p \log n`.

    Args:
        model: as for `lml`, as the data; ``p`` is its ``num_parameters_``.
        X: see there.
        y: see there.

    Source: Schwarz (1978), Estimating the dimension of a model, Annals of Statistics 6, 461-464; his, not
    minus twice it.
    """
    fitted = _fitted(model, X, y)
    cost = 0.5 * fitted.num_parameters_ * math.log(fitted.joint_density().n)
    return float(fitted.log_marginal_likelihood_ - cost)


def aic(model: Any, X: Any = None, y: Any = None) -> float:
    """Return Akaike's criterion as a log density, the maximum less the number of parameters.

    Args:
        model: as for `bic`, as the data.
        X: see there.
        y: see there.

    Source: Akaike (1974), A new look at the statistical model identification, IEEE Transactions on Automatic
    Control 19, 716-723; minus half of it.
    """
    fitted = _fitted(model, X, y)
    return float(fitted.log_marginal_likelihood_ - fitted.num_parameters_)


@dataclass(frozen=True)
class _Folds:
    """The parts of cross-validation, for any number of rows."""

    cv: int
    seed: int

    def sets(self, n: int) -> list[Rows]:
        return folds(n, self.cv, self.seed)


def _fitted(model: Any, X: Any, y: Any) -> Any:
    """Return a clone fitted to the data, or the model where there are none."""
    if not hasattr(model, "joint_density") or isinstance(model, type):
        raise InputError(
            f"expected a regressor of ours, such as GPRegressor('rbf') or BayesianLinearRegressor(), got"
            f" {model!r}; nonparam.compare takes kernels as formulas and scikit-learn's regressors"
        )
    if X is None:
        check_is_fitted(model)
        return model
    return clone(model).fit(X, y)


def _held_out(model: Any, X: Any, y: Any, rows: HeldOutRows | _Folds, refitted: bool) -> list[HeldOut]:
    if not refitted:
        joint = _fitted(model, X, y).joint_density()
        found: list[HeldOut] = joint.held_out([np.asarray(part) for part in rows.sets(joint.n)])
        return found
    _check_data(X)
    return [_refitted(model, X, y, np.asarray(part)) for part in rows.sets(_num_samples(X))]


def _refitted(model: Any, X: Any, y: Any, rows: Rows) -> HeldOut:
    """Return what a model that is fitted without some rows says of them."""
    n = _num_samples(X)
    others = np.setdiff1d(np.arange(n), rows)
    fitted = clone(model).fit(_safe_indexing(X, others), _safe_indexing(y, others))
    fitted.update(_safe_indexing(X, rows), _safe_indexing(y, rows))
    last = np.arange(len(others), n)
    held: HeldOut = fitted.joint_density().held_out([last])[0]
    return replace(held, rows=rows)


def _refitted_in_turn(model: Any, X: Any, y: Any, order: Rows | None, start: int) -> Array:
    _check_data(X)
    n = _num_samples(X)
    rows = np.arange(n) if order is None else checked_order(order, n)
    if isinstance(start, bool) or not isinstance(start, int | np.integer) or not 2 <= start < n:
        raise InputError(
            f"start must be a whole number from 2 to {n - 1}, one row less than there are, got {start!r}"
        )
    x, outputs = _safe_indexing(X, rows), _safe_indexing(y, rows)
    first = np.arange(n)
    steps = [
        (_safe_indexing(x, first[: i + 1]), _safe_indexing(outputs, first[: i + 1])) for i in range(start, n)
    ]
    return np.array(
        [_refitted(model, *step, np.array([start + i])).log_joint for i, step in enumerate(steps)]
    )


def _check_data(X: Any) -> None:
    if X is None:
        raise InputError("refitted=True needs the data: give X and y as well")


def _by_rows(found: Sequence[HeldOut]) -> Score:
    values = np.concatenate([held.log_densities.sum(1) for held in found])
    error = values.std(ddof=1) / math.sqrt(len(values))
    return Score(float(values.mean()), float(error), _gap(found), tuple(found))


def _gap(found: Sequence[HeldOut]) -> float:
    return float(np.mean([held.gap / len(held.rows) for held in found]))
