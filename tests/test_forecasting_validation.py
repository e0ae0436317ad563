"""Series and parameters that no forecaster can be fitted to."""

import numpy as np
import pandas as pd
import pytest

from nonparam.errors import InputError
from nonparam.forecasting import GPForecaster

TWICE = pd.Series([1.0, 2.0, 3.0], index=pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-02"]))
BAD = {
    "nothing": ([], "no observation"),
    "an empty series": (pd.Series([], dtype=float), "no observation"),
    "only missing": ([np.nan, np.nan], "no observation"),
    "infinite": ([1.0, np.inf], "infinite at 1; expected numbers, with NaN where one is missing"),
    "truth values": ([True, False], "must be numbers, got bool"),
    "text": (["1", "2"], "must be numbers, got (str|object)"),
    "objects": (pd.Series([1.0, "two"], dtype=object), "must be numbers, got object such as 1.0"),
    "complex": (np.array([1j, 2.0]), "must be numbers, got complex"),
    "dates": (pd.date_range("2020", periods=3).to_series(), "must be numbers, got datetime"),
    "a table": (pd.DataFrame({"a": [1.0], "b": [2.0]}), r"a table with the columns \['a', 'b'\]"),
    "a matrix": (np.ones((3, 2)), "must be one series of numbers, got ndarray of shape"),
    "ragged": ([[1.0], [1.0, 2.0]], "cannot be read as a series"),
    "a number": (3.0, "must be one series of numbers, got float"),
    "times twice": (TWICE, "several values at 2020-01-02 00:00:00: expected one at each time"),
    "times missing": (pd.Series([1.0, 2.0], index=pd.to_datetime(["2020", None])), r"1 missing time\(s\)"),
    "text for times": (pd.Series([1.0, 2.0], index=["a", "b"]), "must be dates, periods or numbers"),
    "two levels": (
        pd.Series([1.0], index=pd.MultiIndex.from_tuples([("a", 1)], names=["id", "t"])),
        r"the levels \['id', 't'\]",
    ),
    "too large": ([1e200, 2e200], "values of size 2e"),
    "too long": (np.arange(6000.0), "at most 3000 observations, got 6000"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_series_gets_a_clear_error(name):
    y, message = BAD[name]
    with pytest.raises(InputError, match=message):
        GPForecaster().fit(y)


def test_bad_parameters_get_a_clear_error():
    with pytest.raises(
        InputError, match=r"transform must be 'auto' or one of \['identity', 'log'\], got 'sqrt'"
    ):
        GPForecaster(transform="sqrt").fit([1.0, 2.0])
    with pytest.raises(InputError, match="transform='log' needs positive observations, got -1"):
        GPForecaster(transform="log").fit([1.0, -1.0])
    with pytest.raises(InputError, match="season must be 'auto', None, or the number"):
        GPForecaster(season="monthly").fit([1.0, 2.0])
