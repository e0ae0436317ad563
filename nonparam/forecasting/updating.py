r"""New observations for a fitted forecaster, at the hyperparameters that it has.

The members are conditioned on the longer series, and weighed anew by Bayes' rule:

.. math:: w_k' \propto w_k\, p_k(y_{n+1:m} \mid y_{1:n}).
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp

from nonparam.errors import InputError
from nonparam.forecasting.beside import Beside
from nonparam.forecasting.engine import engine_for
from nonparam.forecasting.ensemble import Ensemble
from nonparam.forecasting.regressors import Regressors
from nonparam.forecasting.validation import Observed, as_numbers, as_series, read_series

__all__ = ["joined", "joined_beside", "reweighed"]

Array = NDArray[np.float64]

LONGEST_DENSE = 2000  # observations of a series that cannot be a chain: half a minute
NEGLIGIBLE = 1e-9  # the weight below which a member is dropped


def joined(old: Observed, y_new: Any) -> Observed:
    """Return a series with what came after it.

    Args:
        old: the series.
        y_new: a Series with later times, or an array of what follows immediately; NaN means missing.

    Returns:
        Both as one series.

    Raises:
        InputError: times that are not later, or that make it another calendar.
    """
    new = as_series(y_new)
    if not len(new):
        raise InputError("y_new has no rows: expected at least one new time")
    if not isinstance(y_new, pd.Series | pd.DataFrame):
        new = new.set_axis(old.line.future(np.arange(1, len(new) + 1)))
    positions = old.line.locate(new.index)
    if not (positions > 0.0).all():
        raise InputError(
            f"y_new must come after the end of the series, {old.y.index[-1]}, got {new.index[0]}; "
            "to change what was seen, call fit with the whole series"
        )
    tail = pd.Series(as_numbers(new), index=new.index, name=old.y.name)
    both = pd.concat([old.y, tail])
    both.index = _with_frequency(both.index, old.y.index)
    both.attrs = dict(old.y.attrs)
    observed = read_series(both)
    before = observed.line.locate(old.y.index)
    if not np.allclose(before - before[-1], old.line.locate(old.y.index), rtol=0.0, atol=1e-6):
        raise InputError(
            "y_new changes the steps that the times of the series keep to; update(..., refit=True) reads the "
            "whole series anew"
        )
    return observed


def joined_beside(old: Beside, observed: Observed, X: Any) -> Beside:
    """Return regressors and holidays of a longer series.

    Args:
        old: of the series before.
        observed: the longer series.
        X: the regressors at its new times.

    Raises:
        InputError: regressors that are missing, or that the fit did not have.
    """
    if old.regressors is None:
        old.ahead(X, observed.y.index[:0])  # refuses an X that nobody asked for
        return Beside(observed.line, None, old.holidays)
    known = old.regressors
    index = observed.y.index[len(known.table) :]
    columns = known.centre + known.scale * known.ahead(X, index)
    table = pd.concat([known.table, pd.DataFrame(columns, index=index, columns=known.table.columns)])
    regressors = Regressors(table.set_axis(observed.y.index), known.centre, known.scale, known.by_row)
    return Beside(observed.line, regressors, old.holidays)


def reweighed(ensemble: Ensemble, x: Array, values: Array) -> Ensemble:
    """Return the members given a longer series, weighed by how well they foresaw its end.

    Args:
        ensemble: of the series before.
        x: ``(m, c)``, rows of the longer series.
        values: ``(m,)``, its observations.

    Raises:
        InputError: observations that no member allows for, or too many of them for a slope that wanders.
    """
    n = len(ensemble.x)
    log_weights = np.log(ensemble.weights)
    if len(values) > n:
        _check_length(ensemble, len(values))
        log_weights = log_weights + _foreseen(ensemble, x, values[n:])
    if not np.isfinite(log_weights).any():
        raise InputError(
            f"y_new goes down to {values[n:].min():g}, which the logarithm cannot tell; call "
            "update(..., refit=True)"
        )
    weights = np.exp(log_weights - logsumexp(log_weights))
    kept = np.argsort(-weights, kind="stable")[: int((weights > NEGLIGIBLE).sum())]
    used, outputs = np.unique(ensemble.outputs[kept], return_inverse=True)
    transforms = tuple(ensemble.transforms[output] for output in used)
    return Ensemble.given(
        ensemble.structure,
        x,
        values,
        transforms,
        ensemble.points[kept],
        outputs,
        weights[kept] / weights[kept].sum(),
        ensemble.device,
    )


def _check_length(ensemble: Ensemble, n: int) -> None:
    if ensemble.structure.has_slope and n > LONGEST_DENSE:
        raise InputError(
            f"the series has {n:,} observations now; a trend whose slope wanders, which it was given when it "
            f"was short, is for {LONGEST_DENSE:,} at most: call update(..., refit=True)"
        )


def _foreseen(ensemble: Ensemble, x: Array, values: Array) -> Array:
    """Return the log density in nats that each member gives what came, ``(k,)``.

    It is the difference of the likelihoods of the longer and of the shorter series, for which no joint
    covariance of the new times is made.
    """
    tail = np.stack([transform.forward(values) for transform in ensemble.transforms], 1)
    possible = np.isfinite(tail).all(0)
    z = np.concatenate([ensemble.z, np.where(possible, tail, 0.0)])
    longer, _ = engine_for(ensemble.structure, x, z, ensemble.device)(ensemble.points, ensemble.outputs)
    shorter, _ = ensemble.engine(ensemble.points, ensemble.outputs)
    slopes = np.array([transform.log_slope(values).sum() for transform in ensemble.transforms])
    density: Array = np.where(possible, slopes, -np.inf)[ensemble.outputs] + longer - shorter
    return density


def _with_frequency(index: pd.Index, old: pd.Index) -> pd.Index:
    """Return dates with the frequency that a user gave, if they keep to it."""
    if isinstance(index, pd.DatetimeIndex) and isinstance(old, pd.DatetimeIndex) and old.freq is not None:
        try:
            return pd.DatetimeIndex(index, freq=old.freq)
        except ValueError:
            return index  # a gap in between: the calendar is found from the dates
    return index
