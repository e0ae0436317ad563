"""Where the search for a spectral mixture starts: at peaks of the data's spectrum, taken in several ways."""

import copy
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray

from nonparam.kernels import DeepKernel, Scale, Spectral
from nonparam.kernels.base import Kernel
from nonparam.spectrum import Peaks, find_peaks, mixture_of

__all__ = ["components_that_wait", "started", "starts_of", "ways_to_start"]

Array = NDArray[np.float64]
Spectrum = Sequence[Peaks]  # for each column of X

WIDTHS = (0.03, 0.3)  # of peaks, in units of what the span can tell apart: in step throughout, and losing it
MOST_ROWS = 100_000  # that are looked at
FAINT = 1e-4  # of the variance: the smallest weight that a search starts from


def components_that_wait(kernel: gpytorch.kernels.Kernel) -> int:
    """Return how many components of one mixture wait for the data.

    Examples:
        >>> from nonparam.kernels import RBF, spectral_mixture
        >>> components_that_wait(RBF() + spectral_mixture(3))
        3
    """
    counts = Counter(columns for _, part, columns in _components(kernel) if "frequency" in part.unset)
    return max(counts.values(), default=0)


def starts_of(
    kernel: gpytorch.kernels.Kernel, x: Array, y: Array, weights: Array, rng: np.random.RandomState
) -> list[gpytorch.kernels.Kernel]:
    """Return kernels to start from: the kernel itself, or copies that stand at peaks of the spectrum.

    Args:
        kernel: any.
        x: ``(n, d)``.
        y: ``(n, t)``.
        weights: ``(n,)``, positive.
        rng: chooses rows where there are very many.
    """
    count = components_that_wait(kernel)
    if count == 0:
        return [kernel]
    return [started(kernel, spectrum) for spectrum in ways_to_start(x, y, weights, count, rng)]


def ways_to_start(
    x: Array, y: Array, weights: Array, count: int, rng: np.random.RandomState
) -> list[Spectrum]:
    """Return spectra to start from, the most likely one first.

    Args:
        x: ``(n, d)``.
        y: ``(n, t)``.
        weights: ``(n,)``, positive.
        count: of components.
        rng: chooses rows where there are very many.

    Returns:
        For each way the peaks along each column.
    """
    some = np.sort(rng.permutation(len(x))[:MOST_ROWS])
    x, y, weights = x[some], y[some], weights[some]
    moving = [np.ptp(column) > 0.0 for column in x.T]
    seen = [_lines(x, y, weights, j) for j in range(x.shape[1])]
    narrow = [
        find_peaks(*rows, count, width=WIDTHS[0]) if moves else _flat(y)
        for rows, moves in zip(seen, moving, strict=True)
    ]
    wider = [
        Peaks(peaks.frequency, peaks.bandwidth * (WIDTHS[1] / WIDTHS[0]), peaks.weight) for peaks in narrow
    ]
    fitted = [
        mixture_of(*rows, count) if moves else _flat(y) for rows, moves in zip(seen, moving, strict=True)
    ]
    return [narrow, wider, fitted]


def _lines(x: Array, y: Array, weights: Array, column: int) -> tuple[Array, Array, Array]:
    """Return places, outputs and weights along a column; each line of a complete grid is an output.

    A wave whose sign changes from line to line is not to be seen in all rows together.
    """
    if x.shape[1] == 1:
        return x[:, 0], y, weights
    places, along = np.unique(x[:, column], return_inverse=True)
    line = np.unique(np.delete(x, column, 1), axis=0, return_inverse=True)[1].ravel()
    shape = len(places), int(line.max()) + 1
    cells = np.ravel_multi_index((along, line), shape)
    if len(cells) != math.prod(shape) or len(np.unique(cells)) < len(cells):
        return x[:, column], y, weights
    table = y[np.argsort(cells)].reshape(len(places), -1)
    return places, table, np.asarray(np.bincount(along, weights), dtype=np.float64)


def _flat(y: Array) -> Peaks:
    """Return the spectrum along a column that is constant."""
    return Peaks(np.zeros(1), np.ones(1), np.full(1, float(y.var())))


def started(kernel: gpytorch.kernels.Kernel, spectrum: Spectrum) -> gpytorch.kernels.Kernel:
    """Return a copy of the kernel whose waiting components stand at peaks.

    Args:
        kernel: with components that wait for the data.
        spectrum: the peaks along each column of ``X``; components beyond them take turns.

    Examples:
        >>> from nonparam.kernels import spectral_mixture
        >>> started(spectral_mixture(1), [Peaks(np.array([0.5]), np.array([0.1]), np.array([4.0]))])
        4 * spectral(frequency=0.5, bandwidth=0.1)
    """
    kernel = copy.deepcopy(kernel)
    met = Counter[tuple[int, ...]]()
    for parent, part, columns in _components(kernel):
        seen = [spectrum[column] for column in columns or range(len(spectrum))]
        places = [met[columns] % max(len(peaks.weight), 1) for peaks in seen]
        met[columns] += 1
        known = [(peaks, i) for peaks, i in zip(seen, places, strict=True) if len(peaks.weight)]
        if len(known) < len(seen):
            continue  # a series without a spectrum: the scale of the data says where to start
        if "frequency" in part.unset:
            part.frequency = [float(peaks.frequency[i]) for peaks, i in known]
        if "bandwidth" in part.unset:
            part.bandwidth = [float(peaks.bandwidth[i]) for peaks, i in known]
        peaks, i = known[0]
        if parent is not None and "outputscale" in parent.unset and peaks.weight.sum() > 0.0:
            parent.outputscale = max(float(peaks.weight[i]), FAINT * float(peaks.weight.sum()))
    return kernel


def _components(
    module: gpytorch.kernels.Kernel, columns: tuple[int, ...] = (), parent: Scale | None = None
) -> Iterator[tuple[Scale | None, Spectral, tuple[int, ...]]]:
    """Yield each component, what scales it, and the columns of ``X`` that it sees; none for all."""
    if isinstance(module, Kernel) and module.active_dims is not None:
        chosen = module.active_dims.tolist()
        columns = tuple(columns[i] for i in chosen) if columns else tuple(chosen)
    if isinstance(module, Spectral):
        yield parent, module, columns
        return
    own = module if isinstance(module, Scale) else None
    for child in module.children() if not isinstance(module, DeepKernel) else ():
        for part in child if isinstance(child, torch.nn.ModuleList) else [child]:
            if isinstance(part, gpytorch.kernels.Kernel):
                yield from _components(part, columns, own)
