"""The fit of a forecaster to the series that it has seen."""

import pandas as pd

from nonparam.forecasting import GPForecaster
from nonparam.forecasting.transforms import LINKS, Link

__all__ = ["smoothed"]


def smoothed(forecaster: GPForecaster) -> tuple[Link, pd.Series]:
    r"""Return the transform ``g`` of the heaviest member, and the sum of its parts at each of its times.

    Each value sees the whole series, what came after it too: a smoother, not forecasts one step ahead.

    Args:
        forecaster: fitted.

    Returns:
        The transform, whose inverse turns the sum into a median of the series; and the sum, with the index of
        the series, also where an observation is missing.

    Examples:
        >>> y = pd.Series([1.0, 2.0, 3.0, 4.0], index=[3, 4, 5, 6])
        >>> link, fit = smoothed(GPForecaster(season=None).fit(y))
        >>> link.inverse(fit).round().to_dict()
        {3: 1.0, 4: 2.0, 5: 3.0, 6: 4.0}
    """
    parts = forecaster.decompose()
    return LINKS[parts.attrs["transform"]], parts["fit", "mean"]
