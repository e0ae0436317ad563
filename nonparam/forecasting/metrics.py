r"""How good a forecast was, once the observations came: scores of one series.

Errors are scaled by what the naive seasonal forecast errs within the training,

.. math::

    s = \frac{1}{n - m} \sum_{t=m+1}^{n} |x_t - x_{t-m}|,

so that scores of series in different units can be averaged. Smaller is better, but for `coverage`. Times
whose observation is missing (NaN) are skipped; a score of no times at all is NaN, and so is a scaled one
where the training is constant, since then no error has a scale.

Source: Hyndman and Koehler (2006), "Another look at measures of forecast accuracy"; Gneiting and Raftery
(2007), "Strictly proper scoring rules, prediction, and estimation".
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonparam.errors import InputError
from nonparam.validation import check_count, check_numbers, check_probabilities

__all__ = [
    "coverage",
    "crps_quantiles",
    "crps_sample",
    "interval_score",
    "mase",
    "msis",
    "scaled_crps",
    "seasonal_scale",
    "smape",
]

Array = NDArray[np.float64]

EVEN = 1e-9  # how far levels may be from equally spaced ones


def seasonal_scale(training: Any, m: int = 1) -> float:
    """Return the mean absolute difference of observations that are ``m`` steps apart.

    Args:
        training: ``(n,)``, the series before the forecast, in the order of time; NaN where one is missing.
        m: steps of a season; where the training has no more than these, neighbours are compared.

    Returns:
        The scale, in units of the series; NaN where all these differences are 0, or missing.

    Raises:
        InputError: no vector of numbers, or a season that is no whole number of at least 1.

    Source: Hyndman and Koehler (2006), section 3.

    Examples:
        >>> seasonal_scale([1.0, 5.0, 2.0, 7.0], m=2)
        1.5
    """
    check_count(m, "m", 1)
    x = _vector(training, "training")
    lag = m if len(x) > m else 1
    differences = np.abs(x[lag:] - x[:-lag])
    seen = differences[np.isfinite(differences)]
    return float(seen.mean()) if seen.any() else np.nan


def smape(y: Any, forecast: Any) -> float:
    r"""Return the symmetric mean absolute percentage error.

    .. math::

        \frac{200}{h} \sum_{i=1}^{h} \frac{|y_i - f_i|}{|y_i| + |f_i|}

    Args:
        y: ``(h,)``, what came; NaN where it is missing.
        forecast: ``(h,)``, points.

    Returns:
        Percent, from 0 to 200; a point where both are 0 counts as no error.

    Raises:
        InputError: lengths that differ, or a forecast that is not finite.

    Source: Makridakis and Hibon (2000), "The M3-Competition", appendix A.

    Examples:
        >>> round(smape([100.0, 50.0], [110.0, 50.0]), 4)
        4.7619
    """
    y, forecast = _seen(y, forecast=forecast)
    size = np.abs(y) + np.abs(forecast)
    return _mean(200.0 * np.abs(y - forecast) / np.where(size > 0.0, size, 1.0))


def mase(y: Any, forecast: Any, training: Any, m: int = 1) -> float:
    r"""Return the mean absolute scaled error, :math:`\frac{1}{h} \sum_i |y_i - f_i| / s`.

    Args:
        y: ``(h,)``, what came; NaN where it is missing.
        forecast: ``(h,)``, points: medians, to which this score is fair.
        training: ``(n,)``, the series before the forecast.
        m: steps of a season.

    Returns:
        The score: 1 is as good as a naive seasonal forecast, one step ahead, within the training.

    Raises:
        InputError: lengths that differ, or a forecast that is not finite.

    Source: Hyndman and Koehler (2006), section 3.

    Examples:
        >>> mase([8.0, 4.0], [7.0, 7.0], training=[1.0, 5.0, 2.0, 7.0], m=2)  # of scale 1.5
        1.3333333333333333
    """
    y, forecast = _seen(y, forecast=forecast)
    return _mean(np.abs(y - forecast)) / seasonal_scale(training, m)


def crps_quantiles(y: Any, quantiles: Any, levels: Any) -> Array:
    r"""Return the continuous ranked probability score of each forecast, from its quantiles.

    It is twice the pinball loss, averaged over the levels,

    .. math::

        \int \big(F(x) - [x \ge y]\big)^2 dx = 2 \int_0^1 (y - q_a)(a - [y < q_a])\, da.

    Take the midpoints ``(np.arange(k) + 0.5) / k``, with which the error falls as :math:`1/k^2`; those at
    ``j / (k + 1)`` leave out the ends, and the score comes out too large by about a share of :math:`1/k`.

    Args:
        y: ``(h,)``, what came; NaN where it is missing.
        quantiles: ``(h, k)``.
        levels: ``(k,)``, equally spaced around 1/2.

    Returns:
        ``(h,)``, in units of the series; NaN where ``y`` is missing.

    Raises:
        InputError: shapes that do not match, quantiles that are not finite, or other levels.

    Source: Gneiting and Raftery (2007), equation 20.

    Examples:
        >>> crps_quantiles([1.0], [[0.0]], [0.5])  # of a median alone: the absolute error
        array([1.])
    """
    levels = _even(levels)
    y = _vector(y, "y")[:, None]
    error = y - _finite(quantiles, "quantiles", (len(y), len(levels)))
    score: Array = (2.0 * np.maximum(levels * error, (levels - 1.0) * error)).mean(1)
    return score


def crps_sample(y: Any, draws: Any) -> Array:
    r"""Return the continuous ranked probability score of each forecast that is a set of draws.

    .. math::

        E|X - y| - \tfrac{1}{2} E|X - X'|

    Args:
        y: ``(h,)``, what came; NaN where it is missing.
        draws: ``(h, k)``, equally probable.

    Returns:
        ``(h,)``, in units of the series, exact for the distribution of just these draws; NaN where ``y`` is
        missing.

    Raises:
        InputError: shapes that do not match, or draws that are not finite.

    Source: Gneiting and Raftery (2007), equation 21.

    Examples:
        >>> crps_sample([1.0], [[0.0, 2.0]])
        array([0.5])
    """
    y = _vector(y, "y")[:, None]
    table = np.sort(_finite(draws, "draws", (len(y), None)), axis=1)
    k = table.shape[1]
    ranks = 2.0 * np.arange(1, k + 1) - k - 1.0  # how often each draw is the larger one, less the smaller one
    score: Array = np.abs(table - y).mean(1) - table @ ranks / k**2
    return score


def scaled_crps(y: Any, quantiles: Any, levels: Any, training: Any, m: int = 1) -> float:
    """Return the mean of `crps_quantiles`, divided by `seasonal_scale`.

    Args:
        y: ``(h,)``, what came; NaN where it is missing.
        quantiles: ``(h, k)``.
        levels: ``(k,)``, equally spaced around 1/2.
        training: ``(n,)``, the series before the forecast.
        m: steps of a season.

    Returns:
        The score.

    Raises:
        InputError: as for `crps_quantiles`.

    Examples:
        >>> scaled_crps([8.0], [[7.0]], [0.5], training=[1.0, 5.0, 2.0, 7.0], m=2)
        0.6666666666666666
    """
    return _mean(crps_quantiles(y, quantiles, levels)) / seasonal_scale(training, m)


def interval_score(y: Any, lower: Any, upper: Any, coverage: float = 0.95) -> Array:
    r"""Return the score of each central interval: its width, and a penalty where it misses.

    .. math::

        (u - l) + \frac{2}{\alpha} (l - y)_+ + \frac{2}{\alpha} (y - u)_+, \quad \alpha = 1 - \text{coverage}

    Args:
        y: ``(h,)``, what came; NaN where it is missing.
        lower: ``(h,)``, ``l``.
        upper: ``(h,)``, ``u``.
        coverage: the probability that the intervals claim, above 0 and below 1.

    Returns:
        ``(h,)``, in units of the series; NaN where ``y`` is missing.

    Raises:
        InputError: lengths that differ, bounds that are not finite or the wrong way round, another coverage.

    Source: Gneiting and Raftery (2007), equation 43.

    Examples:
        >>> interval_score([5.0, 11.0], [0.0, 0.0], [10.0, 10.0], coverage=0.95)
        array([10., 50.])
    """
    claimed = check_probabilities(check_numbers(coverage, "coverage"), "coverage")
    if np.ndim(coverage):
        raise InputError(f"coverage must be one probability, got {coverage!r}")
    y = _vector(y, "y")
    lower, upper = _bounds(lower, upper, len(y))
    missed = np.maximum(lower - y, 0.0) + np.maximum(y - upper, 0.0)
    score: Array = (upper - lower) + 2.0 / (1.0 - claimed) * missed
    return score


def msis(y: Any, lower: Any, upper: Any, training: Any, m: int = 1, coverage: float = 0.95) -> float:
    """Return the mean scaled interval score: that of `interval_score`, divided by `seasonal_scale`.

    Args:
        y: ``(h,)``, what came; NaN where it is missing.
        lower: ``(h,)``.
        upper: ``(h,)``.
        training: ``(n,)``, the series before the forecast.
        m: steps of a season.
        coverage: the probability that the intervals claim.

    Returns:
        The score.

    Raises:
        InputError: as for `interval_score`.

    Source: Makridakis, Spiliotis and Assimakopoulos (2020), "The M4 Competition".

    Examples:
        >>> round(msis([11.0], [0.0], [10.0], training=[1.0, 5.0, 2.0, 7.0], m=2), 4)
        33.3333
    """
    return _mean(interval_score(y, lower, upper, coverage)) / seasonal_scale(training, m)


def coverage(y: Any, lower: Any, upper: Any) -> float:
    """Return the share of the observations that lie within their intervals, ends included.

    Args:
        y: ``(h,)``, what came; NaN where it is missing.
        lower: ``(h,)``.
        upper: ``(h,)``.

    Returns:
        From 0 to 1.

    Raises:
        InputError: lengths that differ, bounds that are not finite or the wrong way round.

    Examples:
        >>> coverage([5.0, 11.0, float("nan")], [0.0, 0.0, 0.0], [10.0, 10.0, 10.0])
        0.5
    """
    y = _vector(y, "y")
    lower, upper = _bounds(lower, upper, len(y))
    return _mean(np.where(np.isnan(y), np.nan, (y >= lower) & (y <= upper)))


def _mean(terms: Array) -> float:
    """Return the mean of the terms that are not missing; NaN without any."""
    seen = terms[~np.isnan(terms)]
    return float(seen.mean()) if len(seen) else np.nan


def _vector(values: Any, name: str) -> Array:
    """Return a vector of numbers, some of which may be missing."""
    array = check_numbers(values, name)
    if np.ndim(values) != 1 or np.isinf(array).any():
        raise InputError(
            f"{name} must be a vector of finite numbers, NaN where one is missing, got {values!r}"
        )
    return array


def _finite(values: Any, name: str, shape: tuple[int | None, ...]) -> Array:
    """Return finite numbers of a shape; ``None`` in the shape is any length of at least 1."""
    array = check_numbers(values, name)
    matches = array.ndim == len(shape) and all(
        have == want if want is not None else have >= 1 for have, want in zip(array.shape, shape, strict=True)
    )
    if not matches:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise InputError(f"{name} must have the shape ({wanted}), as y has, got {array.shape}")
    if not np.isfinite(array).all():
        raise InputError(f"{name} must be finite, got {int((~np.isfinite(array)).sum())} that are not")
    return array


def _seen(y: Any, *, forecast: Any) -> tuple[Array, Array]:
    """Return the observations that came, and their forecasts."""
    came = _vector(y, "y")
    points = _finite(forecast, "forecast", (len(came),))
    return came[~np.isnan(came)], points[~np.isnan(came)]


def _bounds(lower: Any, upper: Any, h: int) -> tuple[Array, Array]:
    low, high = _finite(lower, "lower", (h,)), _finite(upper, "upper", (h,))
    if (low > high).any():
        at = int(np.flatnonzero(low > high)[0])
        raise InputError(f"lower must be at most upper, got {low[at]:g} and {high[at]:g} at entry {at}")
    return low, high


def _even(levels: Any) -> Array:
    """Return levels that stand for equal shares of the probability."""
    array = check_probabilities(check_numbers(levels, "levels"), "levels")
    k = len(array)
    even = np.linspace(array[0], 1.0 - array[0], k) if k else array
    if not k or np.abs(array - even).max() > EVEN or (k > 1 and array[0] >= 0.5):
        raise InputError(
            "levels must be equally spaced around 1/2 and increase, as (np.arange(100) + 0.5) / 100 does, "
            f"got {levels!r}"
        )
    return array
