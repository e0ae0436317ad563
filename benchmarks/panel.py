"""Seconds for forecasts of many series: the monthly ones of the M3 competition as one panel.

Two tables of ``python benchmarks/panel.py``:

* ``fit_panel``, with 18 steps and nine quantiles, over one and two processes: seconds that passed, seconds of
  all processors, and the memory of the largest process. Starting the processes is part of both.
* the fit of series of the same length (the most common one), so many at a time, in one process.

Data are read as in `m3_data`; the index has months, as users have them, and the season follows from it.
"""

import argparse
import os
import resource
import shlex
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from joblib.externals.loky import get_reusable_executor
from m3_data import Record, records
from tables import header, row, versions

from nonparam import GPForecaster
from nonparam.forecasting.fitting import fit_problems
from nonparam.threads import threads_for

HORIZON = 18
WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
MIB = 2**20
warnings.simplefilter("ignore")


def series(record: Record) -> pd.Series:
    return pd.Series(record.train, pd.period_range("1980-01", periods=len(record.train), freq="M"))


def processor_seconds() -> float:
    """Return those of this process and of its children that have ended."""
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, WHO))


def memory() -> float:
    """Return the most that this process, or one that it started, has held so far, in MiB."""
    return max(resource.getrusage(who).ru_maxrss for who in WHO) * 1024 / MIB


@contextmanager
def timed() -> Iterator[list[float]]:
    """Fill a list with the seconds that passed, and those of all processors."""
    found: list[float] = []
    began, used = time.monotonic(), processor_seconds()
    yield found
    passed = time.monotonic() - began
    get_reusable_executor().shutdown()  # so that the seconds of its processes are counted
    found += [passed, processor_seconds() - used]


def panels(chosen: Sequence[Record], jobs: Sequence[int]) -> None:
    header("series", "processes", "s", "s of processors", "s of processors a series", "MiB", "failed")
    data = {record.name: series(record) for record in chosen}
    for n_jobs in jobs:
        with timed() as seconds:
            panel = GPForecaster(n_jobs=n_jobs).fit_panel(data, fh=HORIZON)
        passed, used = seconds
        row(len(data), n_jobs, passed, used, used / len(data), f"{memory():.0f}", len(panel.failures))


def together(chosen: Sequence[Record], sizes: Sequence[int]) -> None:
    length, _ = Counter(len(record.train) for record in chosen).most_common(1)[0]
    alike = [record for record in chosen if len(record.train) == length][: max(sizes)]
    forecaster = GPForecaster()
    problems = [forecaster.problem(*forecaster.read(series(record), None)) for record in alike]
    header("series of the same length", "observations", "at a time", "s of processors a series")
    for size in sizes:
        with timed() as seconds, threads_for(length):
            for i in range(0, len(problems), size):
                fit_problems(problems[i : i + size])
        row(len(problems), length, size, seconds[1] / len(problems))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1428, help="series, spread over the collection")
    parser.add_argument("--jobs", type=int, nargs="*", default=[1, 2], help="processes")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1, 8, 32, 128], help="at a time")
    options = parser.parse_args()
    everything = records("monthly")
    places = np.linspace(0, len(everything) - 1, min(options.count, len(everything))).astype(int)
    packages = versions("nonparam", "torch", "numpy", "scipy", "joblib")
    print(f"{datetime.now(UTC):%Y-%m-%d}, {packages}")
    print(f"`{shlex.join(['python', *sys.argv])}`, {os.cpu_count()} cores\n")
    panels([everything[i] for i in places], options.jobs)
    print()
    if options.sizes:
        together(everything, options.sizes)


if __name__ == "__main__":
    main()
