"""Series and tables that come with the package; ``data/SOURCES.md`` tells their origin."""

from importlib import resources

import pandas as pd
from sklearn import datasets as sklearn_datasets

from nonparam.datasets.info import DatasetInfo

__all__ = [
    "BUNDLED",
    "load_airline",
    "load_co2",
    "load_diabetes",
    "load_elnino",
    "load_us_macro",
]

_BY_COLUMN = "by column"

BUNDLED = {
    info.name: info
    for info in (
        DatasetInfo(
            name="airline",
            kind="series",
            rows=144,
            columns=1,
            units="thousands of passengers",
            licence="BSD-3-Clause",
            source="Box, Jenkins & Reinsel, Time Series Analysis, Series G",
        ),
        DatasetInfo(
            name="co2",
            kind="series",
            rows=2284,
            columns=1,
            units="ppmv",
            licence="public domain",
            source="Keeling & Whorf 2004, Mauna Loa, CDIAC; through statsmodels",
        ),
        DatasetInfo(
            name="elnino",
            kind="series",
            rows=732,
            columns=1,
            units="degrees Celsius",
            licence="public domain",
            source="NOAA, ERSST.V3B, region Nino 1+2; through statsmodels",
        ),
        DatasetInfo(
            name="us_macro",
            kind="table",
            rows=203,
            columns=12,
            units=_BY_COLUMN,
            licence="public domain",
            source="FRED and U.S. Bureau of Labor Statistics; through statsmodels",
        ),
        DatasetInfo(
            name="diabetes",
            kind="table",
            rows=442,
            columns=11,
            units=_BY_COLUMN,
            licence="BSD-3-Clause",
            source="Efron, Hastie, Johnstone & Tibshirani 2004; through scikit-learn",
        ),
    )
}

_DOLLARS = "billions of chained 2005 US$, annual rate"

_US_MACRO_UNITS = {
    "realgdp": _DOLLARS,
    "realcons": _DOLLARS,
    "realinv": _DOLLARS,
    "realgovt": _DOLLARS,
    "realdpi": _DOLLARS,
    "cpi": "index, 1982-84 = 100",
    "m1": "billions of US$",
    "tbilrate": "percent a year",
    "unemp": "percent",
    "pop": "millions",
    "infl": "percent a year",
    "realint": "percent a year",
}

_DIABETES_UNITS = {
    "age": "years",
    "sex": "code, 1 or 2",
    "bmi": "kg/m^2",
    "bp": "mmHg",
    "s1": "mg/dl",
    "s2": "mg/dl",
    "s3": "mg/dl",
    "s4": "ratio",
    "s5": "logarithm",
    "s6": "mg/dl",
}


def load_airline() -> pd.Series:
    """Load the international airline passengers, monthly from 1949 to 1960.

    A rising level whose yearly pattern grows with it: the textbook multiplicative series.

    Returns:
        Series of 144 thousands of passengers on a monthly ``PeriodIndex``; ``attrs`` holds
        its ``units`` and ``source``.

    Source: Box, Jenkins & Reinsel, Time Series Analysis, Series G.

    >>> y = load_airline()
    >>> print(y.index[0], y.iloc[0], y.attrs["units"])
    1949-01 112.0 thousands of passengers
    """
    return _series("airline", _read_periods("airline", "M"))


def load_co2() -> pd.Series:
    """Load the carbon dioxide in the air at Mauna Loa, weekly from 1958 to 2001.

    Returns:
        Series of 2284 means in ppmv on a ``DatetimeIndex`` of Saturdays; the 59 weeks that
        were not measured are NaN. ``attrs`` holds its ``units`` and ``source``.

    Source: Keeling & Whorf (2004), Carbon Dioxide Information Analysis Center.

    >>> y = load_co2()
    >>> len(y), int(y.isna().sum()), y.index.freqstr
    (2284, 59, 'W-SAT')
    """
    table = _read("co2")
    return _series("co2", table.set_axis(pd.DatetimeIndex(table.index, freq="W-SAT")))


def load_elnino() -> pd.Series:
    """Load the sea surface temperature off Peru, monthly from 1950 to 2010.

    Returns:
        Series of 732 means in degrees Celsius, between 0 and 10 degrees South and 90 and 80
        degrees West, on a monthly ``PeriodIndex``; ``attrs`` holds its ``units`` and ``source``.

    Source: NOAA National Weather Service, ERSST.V3B, region Nino 1+2.

    >>> y = load_elnino()
    >>> print(y.index[-1], y.iloc[-1], y.attrs["units"])
    2010-12 22.07 degrees Celsius
    """
    return _series("elnino", _read_periods("elnino", "M"))


def load_us_macro() -> pd.DataFrame:
    """Load twelve series of the economy of the United States, quarterly from 1959 to 2009.

    The first quarter has no predecessor: its ``infl`` and ``realint`` are zeros that stand for
    unknown values.

    Returns:
        Table (203, 12) on a quarterly ``PeriodIndex``; ``attrs["units"]`` is a dictionary from
        column to unit, ``attrs["source"]`` names the origin.

    Source: Federal Reserve Bank of St. Louis; U.S. Bureau of Labor Statistics.

    >>> table = load_us_macro()
    >>> print(table.index[0], table["realgdp"].iloc[0], table.attrs["units"]["unemp"])
    1959Q1 2710.349 percent
    """
    table = _read_periods("us_macro", "Q")
    table.attrs = {"units": dict(_US_MACRO_UNITS), "source": BUNDLED["us_macro"].source}
    return table


def load_diabetes() -> tuple[pd.DataFrame, pd.Series]:
    """Load the 442 diabetes patients of the least angle regression paper, in original units.

    The source states the unit of age only; the others are the usual reading of the values.

    Returns:
        ``X`` (442, 10), the baseline variables, and ``y`` (442,), a score of the disease's
        progression one year later; ``attrs`` of both hold ``units`` and ``source``.

    Source: Efron, Hastie, Johnstone & Tibshirani, Least Angle Regression, Annals of Statistics
    2004; the copy is scikit-learn's.

    >>> X, y = load_diabetes()
    >>> X.shape, float(X["age"].iloc[0]), X.attrs["units"]["age"]
    ((442, 10), 59.0, 'years')
    """
    X, y = sklearn_datasets.load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    X.attrs = {"units": dict(_DIABETES_UNITS), "source": BUNDLED["diabetes"].source}
    y.attrs = {"units": "score", "source": BUNDLED["diabetes"].source}
    return X, y.rename("progression")


def _read(name: str) -> pd.DataFrame:
    with resources.files("nonparam.datasets.data").joinpath(f"{name}.csv").open() as file:
        return pd.read_csv(file, index_col=0)


def _read_periods(name: str, freq: str) -> pd.DataFrame:
    table = _read(name)
    return table.set_axis(pd.PeriodIndex(table.index, freq=freq))


def _series(name: str, table: pd.DataFrame) -> pd.Series:
    y = table.iloc[:, 0].astype(float)
    y.attrs = {"units": BUNDLED[name].units, "source": BUNDLED[name].source}
    return y
