"""Several models of the same data, side by side."""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike, NDArray

from nonparam.comparison.contestants import contestants
from nonparam.comparison.generalisation import judge_generalisation
from nonparam.comparison.hypothesis import HypothesisVerdict, judge_hypotheses
from nonparam.comparison.measures import Measures, Splits, draw_splits, measure
from nonparam.comparison.report import ComparisonReport, tabulate
from nonparam.errors import InputError
from nonparam.validation import check_count, check_jobs, check_numbers, check_outputs, check_seed

__all__ = ["compare"]

Array = NDArray[np.float64]


def compare(
    models: Sequence[Any] | Mapping[str, Any],
    X: Any,
    y: ArrayLike,
    *,
    prior_odds: Sequence[float] | Mapping[str, float] | None = None,
    orderings: int = 20,
    cv: int = 5,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
) -> ComparisonReport:
    r"""Compare models of the same data: which one the data support, and which one will predict best.

    These are two questions. The first is answered by the evidence, which counts every row from the first:

    .. math:: \log p(y) = \sum_{i=1}^n \log p(y_i \mid y_{1:i-1})

    The second is answered by densities of rows that are held out from many others: conditional marginal
    likelihood (the last tenth of random orderings, jointly), leave-one-out and cross-validation. All models
    see the same orderings and folds, so that differences are paired.

    Above 10,000 rows, and after a solver that keeps no factor, a model has no density of its outputs in
    closed form: cross-validation stands alone then, and the notes say so. A scikit-learn model is fitted as
    often as there are rows, and once more for each row that an ordering holds out.

    Args:
        models: kernels as formulas, our regressors, hypotheses in closed form, and scikit-learn regressors
            whose ``predict`` takes ``return_std=True``; as a list, a list of pairs of names and models, or a
            mapping from names to models. A formula of a kernel is fitted from three other starts as well, up
            to 512 rows. A `GPRegressor` that is fitted keeps its hyperparameters, and must have been fitted
            to these rows; all other models are fitted here, as copies. Where rows are held out, our models
            keep the hyperparameters of all rows, except in cross-validation, where every model is fitted
            afresh; scikit-learn's models are fitted afresh for each row that is held out.
        X: ``(n, d)``; ``None`` where all models are hypotheses.
        y: ``(n,)``.
        prior_odds: a positive number for each model, by position or by name; equal ones by default.
        orderings: how many random permutations of the rows, at least 2.
        cv: how many folds, at least 2.
        n_jobs: models that are worked on at once, as joblib counts them.
        random_state: seed of the orderings and the folds, as that of `clml` and `k_fold`.

    Returns:
        The report: a table, ``hypothesis`` and ``generalisation``, pictures and exports.

    Raises:
        InputError: data, models or arguments that do not allow a comparison; the message says what to change.

    Source: Kass and Raftery (1995), Bayes factors, Journal of the American Statistical Association 90,
    773-795; Lotfi et al. (2022), Bayesian model selection, the marginal likelihood, and generalization, ICML;
    Fong and Holmes (2020), On the marginal likelihood and cross-validation, Biometrika 107, 489-496.

    Examples:
        >>> x = np.linspace(0.0, 20.0, 40)[:, None]
        >>> y = np.sin(x[:, 0]) + 0.1 * np.random.default_rng(0).normal(size=40)
        >>> report = compare(["linear", "periodic"], x, y)
        >>> report.hypothesis.best, report.generalisation.best["loo"]
        ('periodic', 'periodic')
    """
    outputs = _check_arguments(y, orderings, cv, n_jobs)
    entered = contestants(models, X, outputs)
    odds = _check_odds(prior_odds, [each.name for each in entered])
    splits = draw_splits(len(outputs), int(orderings), cv, _seed(random_state))
    measured = Parallel(n_jobs=n_jobs)(delayed(measure)(each, splits) for each in entered)
    return _report(measured, odds, X, outputs, splits)


def _check_arguments(y: ArrayLike, orderings: int, cv: int, n_jobs: int | None) -> Array:
    """Return the outputs, ``(n,)``."""
    check_count(orderings, "orderings", 2)
    check_jobs(n_jobs)
    return check_outputs(y, np.shape(y)[0] if np.ndim(y) else 0, multi_output=False)


def _seed(random_state: int | np.random.RandomState | None) -> int:
    """Return a seed: an integer as it is, so that `clml` and the others give the same numbers."""
    rng = check_seed(random_state)
    return int(random_state) if isinstance(random_state, int | np.integer) else int(rng.randint(2**31 - 1))


def _check_odds(
    prior_odds: Sequence[float] | Mapping[str, float] | None, names: list[str]
) -> dict[str, float]:
    if prior_odds is None:
        return dict.fromkeys(names, 1.0)
    if isinstance(prior_odds, Mapping):
        if set(prior_odds) != set(names):
            raise InputError(f"prior_odds must name every model, {names}; got {sorted(map(str, prior_odds))}")
        prior_odds = [prior_odds[name] for name in names]
    odds = check_numbers(prior_odds, "prior_odds")
    if odds.shape != (len(names),):
        raise InputError(f"prior_odds must be one number for each of {len(names)} models, got {prior_odds!r}")
    if not (np.isfinite(odds) & (odds > 0.0)).all():
        raise InputError(f"prior_odds must be positive and finite, got {reprlib.repr(prior_odds)}")
    return dict(zip(names, odds.tolist(), strict=True))


def _report(
    measured: list[Measures], odds: dict[str, float], X: Any, y: Array, splits: Splits
) -> ComparisonReport:
    verdict: HypothesisVerdict | None = None
    refusal = ""
    try:
        verdict = judge_hypotheses(measured, odds)
    except InputError as error:
        refusal = str(error)
    return ComparisonReport(
        table=tabulate(measured),
        generalisation=judge_generalisation(measured, verdict),
        notes={m.name: m.notes for m in measured if m.notes},
        description=_description(measured, X, y, splits),
        models=tuple(measured),
        _hypothesis=verdict,
        _refusal=refusal,
    )


def _description(measured: list[Measures], X: Any, y: Array, splits: Splits) -> str:
    columns = 0 if X is None else np.shape(X)[1]
    inputs = {0: "no inputs", 1: "one input"}.get(columns, f"{columns} inputs")
    return (
        f"{len(measured)} models of {len(y):,} rows with {inputs}; y from {y.min():.4g} to {y.max():.4g}."
        f" {len(splits.orders)} orderings, each conditioned on {splits.n - splits.held:,} rows;"
        f" {len(splits.folds)} folds."
    )
