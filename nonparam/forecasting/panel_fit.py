"""Fits of many series: spread over workers, written as they are done, a failure of one hinders no other."""

import math
import time
from collections.abc import Iterable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pandas as pd
import torch
from sklearn.base import clone

from nonparam.errors import InputError, WorkerLostError
from nonparam.forecasting.panel import FittedPanel, tell_failures
from nonparam.forecasting.panel_chunks import Asked, Chunk, Outcome, are_fitted_together, work
from nonparam.forecasting.panel_reading import Failure, Names, Panel, read_futures, read_panel
from nonparam.forecasting.panel_store import Store, fingerprint
from nonparam.forecasting.parameters import check_time_limit
from nonparam.forecasting.timeline import timeline
from nonparam.forecasting.validation import read_horizon, read_levels
from nonparam.progress import Tally
from nonparam.solvers.plan import CPU
from nonparam.validation import check_device, check_jobs, check_verbose

if TYPE_CHECKING:
    from nonparam.forecasting.forecaster import GPForecaster

__all__ = ["LEVELS", "PanelRequest", "fit_panel"]

LEVELS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)  # of the quantiles that are kept
LARGEST = 32  # series in a chunk: more of them at once are hardly faster; benchmarks/panel.py
LARGEST_BATCH = 512  # series in a chunk that is not for a processor
LEAST_CHUNKS = 16  # where there are so many series: many workers are then busy to the end


@dataclass(frozen=True)
class PanelRequest:
    """What `GPForecaster.fit_panel` was asked for.

    Attributes:
        names: of the columns of long tables.
        fh: the horizon, or ``None`` to keep the fitted forecasters.
        alpha: levels of the quantiles that are kept.
        X: regressors at the times of the forecast.
        n_jobs: as joblib's.
        store: a folder, or ``None``.
        time_limit: seconds, or ``None``.
        verbose: whether to show the progress.
        device: where series are fitted together.
    """

    names: Names
    fh: Any = None
    alpha: Any = LEVELS
    X: Any = None
    n_jobs: int | None = None
    store: Any = None
    time_limit: float | None = None
    verbose: int = 0
    device: str = "cpu"

    @property
    def asked(self) -> Asked | None:
        """The forecast of every series, whose median is always kept; ``None`` without a horizon."""
        if self.fh is None:
            if self.store is not None or self.X is not None:
                raise InputError("store= and X= belong to a forecast: give its horizon too, as in fh=12")
            return None
        if not isinstance(self.fh, pd.Index):  # an error now, and not after all fits
            read_horizon(self.fh, timeline(pd.RangeIndex(1)))
        return Asked(self.fh, np.unique(np.append(read_levels("alpha", self.alpha), 0.5)))

    @property
    def deadline(self) -> float:
        """When to end, in seconds since the epoch, which all machines count alike."""
        check_time_limit(self.time_limit)
        return math.inf if self.time_limit is None else time.time() + float(self.time_limit)


def fit_panel(forecaster: "GPForecaster", data: Any, request: PanelRequest) -> FittedPanel:
    """Fit copies of a forecaster to many series; see `GPForecaster.fit_panel`.

    Args:
        forecaster: its parameters count; it stays as it is.
        data: the series.
        request: what is wanted.

    Returns:
        The fitted panel.

    Raises:
        InputError: an argument that cannot be, or no series that can be forecast.

    Examples:
        >>> from nonparam import GPForecaster
        >>> request = PanelRequest(Names("unique_id", "ds", "y"), fh=1)
        >>> fit_panel(GPForecaster(), {"a": [1.0, 2.0, 3.0, 5.0]}, request)
        FittedPanel(1 series fitted)
    """
    check_verbose(request.verbose)
    check_jobs(request.n_jobs)
    asked, deadline = request.asked, request.deadline
    forecaster = clone(forecaster)  # without what it was fitted to, which need not travel
    panel = read_panel(data, request.names)
    futures = read_futures(request.X, panel)
    device = _device(request.device, forecaster, panel)
    chunks = _chunks(panel, futures, device)
    store = None
    if request.store is not None and asked is not None:
        marks = fingerprint(forecaster, panel, futures, asked, [chunk.places for chunk in chunks])
        store = Store(request.store, asked, marks)
    jobs = [joblib.delayed(work)(forecaster, chunk, asked, deadline, device) for chunk in chunks]
    done = _done(jobs, chunks, store, request)
    late = Failure("TimeoutError", f"not reached within time_limit={request.time_limit} seconds")
    every: list[Outcome] = [late] * len(panel.ids)
    for chunk, outcomes in zip(chunks, done, strict=True):
        for place, outcome in zip(chunk.places, outcomes or (), strict=False):
            every[place] = outcome
    tell_failures(every, list(panel.ids), stacklevel=4)
    return FittedPanel(forecaster, panel, every, asked)


def _device(name: str, forecaster: "GPForecaster", panel: Panel) -> torch.device:
    """Return where series are fitted together; on a GPU only those that are."""
    rows = sum(len(entry.y) for entry in panel.entries if not isinstance(entry, Failure))
    device = check_device(name, rows)
    if device.type == "cpu" or are_fitted_together(forecaster):
        return device
    if name != "auto":
        raise InputError(
            f"device={name!r} fits series together, and those of a forecaster with a time_limit of its own "
            "are fitted one by one: give the limit to fit_panel, or leave device out"
        )
    return CPU


def _done(
    jobs: list[Any], chunks: list[Chunk], store: Store | None, request: PanelRequest
) -> list[list[Outcome] | None]:
    """Return what became of each chunk, from the store or by its job; ``None`` for those not reached."""
    done = [None if store is None else store.read(chunk) for chunk in chunks]
    left = [job for job, outcomes in zip(jobs, done, strict=True) if outcomes is None]
    with Tally(bool(request.verbose), sum(len(chunk.entries) for chunk in chunks), "series") as tally:
        tally.add(sum(len(outcomes or ()) for outcomes in done))
        for number, outcomes in _finished(left, request.n_jobs):
            done[number] = outcomes
            if store is not None and outcomes is not None:
                store.write(number, outcomes)
            tally.add(len(outcomes or ()))
    return done


def _chunks(panel: Panel, futures: list[pd.DataFrame | None], device: torch.device) -> list[Chunk]:
    """Split a panel into series of about the same length, which share computations; the longest come first.

    That depends on the series and the device alone: a store serves any number of workers.
    """
    size = LARGEST_BATCH
    if device.type == "cpu":
        size = min(LARGEST, math.ceil(len(panel.ids) / LEAST_CHUNKS))
    lengths = [0 if isinstance(entry, Failure) else len(entry.y) for entry in panel.entries]
    order = np.argsort(-np.array(lengths), kind="stable").tolist()
    parts = [order[i : i + size] for i in range(0, len(order), size)]
    return [
        Chunk(number, places, [panel.entries[i] for i in places], [futures[i] for i in places])
        for number, places in enumerate(parts)
    ]


def _finished(jobs: list[Any], n_jobs: int | None) -> Iterable[tuple[int, list[Outcome] | None]]:
    """Yield the results of jobs as they end.

    Raises:
        WorkerLostError: a process ended in the midst of its work.
    """
    try:
        parallel = joblib.Parallel(n_jobs, return_as="generator_unordered", batch_size=1)
    except ValueError:  # a backend that hands out everything at the end, as Ray's
        parallel = joblib.Parallel(n_jobs, batch_size=1)
    try:
        yield from parallel(jobs)
    except BrokenProcessPool as error:
        raise WorkerLostError(
            "a process that fitted some of the series has ended, often for lack of memory: take fewer of "
            "them (n_jobs), and a folder (store) from which the next call goes on"
        ) from error
