"""The parameters of a forecaster, or one clear error."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from nonparam.errors import InputError
from nonparam.validation import check_choice, check_jobs, check_seed

__all__ = ["check_parameters", "check_priors", "check_support", "check_time_limit"]

MEDIANS = (1e-6, 1e6)  # in units of the season and of the standardised series
SPREADS = (1e-3, 10.0)  # of logarithms: beyond, numbers leave what 16 digits can tell apart


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Raise `InputError` for parameters of `GPForecaster` that no series could make sense of.

    Args:
        parameters: by their names; those that are not named here are checked where a series is known.
    """
    check_choice(parameters["average"], "average", (True, False))
    check_support(parameters["support"])
    check_priors(parameters["priors"])
    check_jobs(parameters["n_jobs"])
    check_time_limit(parameters["time_limit"])
    check_seed(parameters["random_state"])


def check_support(support: Any) -> None:
    """Raise `InputError` unless ``support`` says where forecasts may be.

    Examples:
        >>> check_support("real")
    """
    check_choice(support, "support", (None, "positive", "real"))


def check_priors(priors: Any) -> None:
    """Raise `InputError` unless ``priors`` is ``"default"`` or maps names to medians and spreads.

    Whether the names exist depends on the series, see `nonparam.forecasting.structure.Structure.chosen`.

    Examples:
        >>> check_priors({"trend lengthscale": (5.0, 1.0)})
    """
    if isinstance(priors, str) and priors == "default":
        return
    if not isinstance(priors, Mapping):
        raise InputError(
            "priors must be 'default' or a dictionary such as {'trend lengthscale': (5.0, 1.0)}, "
            f"got {priors!r}"
        )
    for name, given in priors.items():
        pair = given if isinstance(given, tuple | list) and len(given) == 2 else (None, None)
        if not all(_is_within(v, *ends) for v, ends in zip(pair, (MEDIANS, SPREADS), strict=True)):
            raise InputError(
                f"the prior of {name} must be a positive median ({MEDIANS[0]:g} to {MEDIANS[1]:g}) and a "
                f"positive standard deviation of the logarithm ({SPREADS[0]:g} to {SPREADS[1]:g}), got "
                f"{given!r}"
            )


def check_time_limit(time_limit: Any) -> None:
    """Raise `InputError` unless ``time_limit`` is a number of seconds or ``None``.

    Examples:
        >>> check_time_limit(0.5)
    """
    if time_limit is not None and not (_is_real(time_limit) and time_limit > 0.0):
        raise InputError(f"time_limit must be a positive number of seconds or None, got {time_limit!r}")


def _is_within(value: Any, lowest: float, highest: float) -> bool:
    return _is_real(value) and math.isfinite(value) and lowest <= value <= highest


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
