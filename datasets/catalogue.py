"""The list of all data sets."""

from dataclasses import asdict

import pandas as pd

from nonparam.datasets.bundled import BUNDLED
from nonparam.datasets.uci_sets import UCI_SETS

__all__ = ["list_datasets"]


def list_datasets() -> pd.DataFrame:
    """List every data set that this package can load or fetch.

    Returns:
        Table with one row a set and the columns ``name``, ``kind`` ("series" and "table" are
        bundled, "download" is fetched), ``rows``, ``columns`` (the target included), ``units``
        (of the series or target), ``licence`` and ``source``.

    >>> table = list_datasets()
    >>> print(*table.loc[0, ["name", "kind", "rows", "columns", "units"]])
    airline series 144 1 thousands of passengers
    """
    fetched = (uci_set.info for uci_set in UCI_SETS.values())
    return pd.DataFrame([asdict(info) for info in (*BUNDLED.values(), *fetched)])
