"""Data to try models on: bundled series and tables, and public benchmark sets to fetch."""

if __name__ != "nonparam.datasets":
    raise ImportError("this folder is part of a package: import nonparam.datasets instead")

from nonparam.datasets.bundled import (
    load_airline,
    load_co2,
    load_diabetes,
    load_elnino,
    load_us_macro,
)
from nonparam.datasets.catalogue import list_datasets
from nonparam.datasets.uci import UCIData, fetch_uci

__all__ = [
    "UCIData",
    "fetch_uci",
    "list_datasets",
    "load_airline",
    "load_co2",
    "load_diabetes",
    "load_elnino",
    "load_us_macro",
]
