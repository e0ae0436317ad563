r"""Stationary kernels by structured interpolation: the grid that a kernel needs, and what it leaves to error.

The interpolated kernel stands for the kernel everywhere, in training and in predictions, so that what
follows is an exact Gaussian process of a kernel that deviates from the given one by a stated amount. The
spacing follows from the deviation along each column, where it is largest at short lags: a hundredth of the
noise, and a ten-thousandth of the kernel's variance at most. The deviation that is stated is measured between
some of the rows and all.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import gpytorch
import torch
from torch import Tensor

from nonparam.errors import ConvergenceError, InputError, InsufficientMemoryError
from nonparam.kernels.base import Kernel
from nonparam.kernels.evaluate import covariance, variance
from nonparam.kernels.tiles import own_parameter
from nonparam.processes import free_memory
from nonparam.solvers.plan import BYTES, readable
from nonparam.solvers.ski import STENCIL, GridCovariance, Interpolation, Lattice, SkiOperator, keys_weights

__all__ = ["InterpolatedKernel", "InterpolatedOperator", "check_interpolable", "check_noisy"]

DEVIATION = 1e-4  # that the spacing is chosen for, at most, relative to the variance of the kernel
NOISE_SHARE = 1e-2  # of the least noise variance, that the deviation may be: docs/decisions/0012-ski.md
FINEST = 1e-6  # deviation: what rounding leaves of a float32 product
EXACT = "take solver='cg' or solver='cholesky', or a larger noise"
REFUSED = 10.0  # times what was aimed at
SAMPLE = 32  # rows between which and all rows the deviation is measured
MOST_COLUMNS = 3  # a row is interpolated from 4^d points
OFFSETS = 8  # places within a cell at which a spacing is tried
CELLS = 4  # between the places: 0, 1, 2 and 3
FARTHER = 12  # cells besides, up to the span of the rows
GOLDEN = 0.5 * (5.0**0.5 - 1.0)
FINER = 0.85  # a spacing relative to the one tried before
NUMBERS = 48  # at the peak, for each point of the circulant matrix
SHARE = 0.5  # of the free memory, that a grid may fill


def check_interpolable(kernel: gpytorch.kernels.Kernel, x: Tensor) -> None:
    """Raise `InputError` unless a kernel is a function of the lag, and the rows have few columns.

    Args:
        kernel: the covariance function.
        x: ``(n, d)``.

    Examples:
        >>> from nonparam.kernels import Linear
        >>> check_interpolable(Linear(), torch.zeros(2, 1))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        nonparam.errors.InputError: solver='ski' needs a stationary kernel of this package, ...
    """
    if x.shape[1] > MOST_COLUMNS:
        raise InputError(
            f"solver='ski' needs at most {MOST_COLUMNS} columns, since the points of a grid multiply with "
            f"each, got {x.shape[1]}: take solver='cg'"
        )
    if not isinstance(kernel, Kernel) or not kernel.is_stationary:
        raise InputError(
            "solver='ski' needs a stationary kernel of this package, without white noise of its own, got "
            f"{kernel!r}: take solver='cg'"
        )


def check_noisy(noise: float) -> None:
    """Raise `InputError` for rows without noise, which no interpolated kernel explains.

    Args:
        noise: the least variance of a row.

    Examples:
        >>> check_noisy(0.1)
    """
    if not noise > 0.0:
        raise InputError(
            f"solver='ski' needs a noise above 0 in every row, got {noise:g}: take solver='cholesky', or a "
            "small noise"
        )


@dataclass(frozen=True)
class InterpolatedKernel:
    r"""A stationary kernel interpolated from a lattice, :math:`w(x)^\top K_G \, w(x')` for any rows.

    Attributes:
        kernel: at one value of its hyperparameters, in float64.
        lattice: the points.
    """

    kernel: gpytorch.kernels.Kernel
    lattice: Lattice

    @classmethod
    @torch.no_grad()
    def of(
        cls, kernel: gpytorch.kernels.Kernel, x: Tensor, deviation: float = DEVIATION
    ) -> "InterpolatedKernel":
        """Return the interpolated kernel whose spacing the kernel needs.

        Args:
            kernel: a stationary one of this package; later changes do not reach the copy.
            x: ``(n, d)`` float64 rows, up to three columns.
            deviation: that the spacing is chosen for, relative to the variance of the kernel.

        Raises:
            InputError: another kernel, or more columns.
            ConvergenceError: the points that the deviation asks for do not fit the memory.

        Examples:
            >>> from nonparam.kernels import RBF
            >>> x = torch.linspace(0.0, 9.0, 40, dtype=torch.float64)[:, None]
            >>> interpolated = InterpolatedKernel.of(RBF(1.0), x)
            >>> difference = interpolated.covariance(x) - covariance(RBF(1.0), x)
            >>> bool(difference.abs().max() < 2e-4)
            True
        """
        check_interpolable(kernel, x)
        own = copy.deepcopy(kernel).to(x).requires_grad_(True)
        origin, spans = x.amin(0), x.amax(0) - x.amin(0)
        share = deviation / len(spans)
        spacings = [_spacing(own, x[:1], axis, span, share) for axis, span in enumerate(spans.tolist())]
        lattice = Lattice(origin, x.new_tensor(spacings))
        problem = _too_large(lattice.box(x), _affordable(x.device))
        if problem is not None:
            raise ConvergenceError(
                problem + "the kernel is too rough, or its lengthscales or the noise too small, for a grid "
                "over these rows; take solver='cg'"
            )
        return cls(own, lattice)

    def operator(self, x: Tensor, dtype: torch.dtype = torch.float64) -> SkiOperator:
        """Return the covariance of rows ``x (n, d)`` as an operator."""
        return self._on(self.lattice.box(x), x, dtype)

    def covariance(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the covariance of rows ``x1 (n, d)`` with ``x2 (m, d)``, or with themselves: ``(n, m)``."""
        if x2 is not None and len(x1) > len(x2):  # a transform for each row of the fewer ones
            return self.covariance(x2, x1).mT
        k, rows = self._between(x1, x1 if x2 is None else x2)
        return k.cross(rows, torch.arange(len(rows.index), device=x1.device))

    def product(self, x1: Tensor, x2: Tensor, v: Tensor) -> Tensor:
        """Return the covariance of ``x1 (n, d)`` with ``x2 (m, d)`` times ``v (m, k)``: ``(n, k)``."""
        k, rows = self._between(x1, x2)
        return rows.gather(k.grid @ k.interpolation.spread(v))

    def variance(self, x: Tensor) -> Tensor:
        """Return the variance at each row of ``x (n, d)``, the diagonal of `covariance`: ``(n,)``."""
        return self.operator(x).diagonal()

    def lags(self, sizes: torch.Size) -> Tensor:
        """Return the covariances at the lags of a grid's circulant matrix, as the kernel's graph gives them.

        One evaluation of the kernel, between the first point and all lags.
        """
        lags = GridCovariance.wrapped_lags(sizes, self.lattice.spacing.device) * self.lattice.spacing
        flat = lags.flatten(0, -2)
        return covariance(self.kernel, torch.zeros_like(flat[:1]), flat).reshape(lags.shape[:-1])

    def _between(self, x1: Tensor, x2: Tensor) -> tuple[SkiOperator, Interpolation]:
        """Return the operator of ``x2`` on a box that holds ``x1`` as well, and what interpolates there."""
        (low1, high1), (low2, high2) = self.lattice.box(x1), self.lattice.box(x2)
        box = torch.minimum(low1, low2), torch.maximum(high1, high2)
        k = self._on(box, x2, torch.float64)
        return k, self.lattice.interpolation(x1, box, torch.float64)

    @torch.no_grad()
    def _on(self, box: tuple[Tensor, Tensor], x: Tensor, dtype: torch.dtype) -> SkiOperator:
        problem = _too_large(box, free_memory(x.device))
        if problem is not None:
            raise InsufficientMemoryError(problem + "ask for rows nearer to those of the training data")
        rows = self.lattice.interpolation(x, box, dtype)
        return SkiOperator(GridCovariance(self.lags(rows.sizes).to(dtype), rows.sizes), rows)


class InterpolatedOperator:
    """The covariance matrix of rows under an interpolated kernel, with the way back to hyperparameters.

    Args:
        kernel: a stationary one of this package.
        x: ``(n, d)`` float64 rows, up to three columns.
        noise: the least noise variance of a row, which says how small a deviation has to be.
        dtype: of the products.
        seed: of the rows between which and all rows the deviation is measured.

    Attributes:
        kernel: the interpolated one.
        matrix: the operator without gradients.
        deviation: the largest measured one from the kernel, relative to the variance.

    Raises:
        InputError: another kernel, or more columns.
        ConvergenceError: the grid that is needed does not fit the memory, or the deviation is too large.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> x = torch.linspace(0.0, 9.0, 40, dtype=torch.float64)[:, None]
        >>> k = InterpolatedOperator(RBF(1.0), x, noise=0.01, dtype=torch.float64, seed=0)
        >>> k.deviation < 2e-4, torch.allclose(k.rows(torch.tensor([3])) @ x, (k @ x)[3])
        (True, True)
    """

    def __init__(
        self, kernel: gpytorch.kernels.Kernel, x: Tensor, *, noise: float, dtype: torch.dtype, seed: int
    ) -> None:
        share = noise / _variance(kernel, x)
        aim = min(DEVIATION, max(FINEST, NOISE_SHARE * share))
        self.kernel = InterpolatedKernel.of(kernel, x, aim)
        self.matrix = self.kernel.operator(x, dtype)
        own = self.kernel.kernel.parameters()
        self._parameters: list[tuple[Tensor, Tensor]] = list(zip(kernel.parameters(), own, strict=True))
        self.deviation = self._measured(x, seed)
        if not self.deviation <= min(REFUSED * aim, share):
            cause = "the kernel is too rough for a grid; take solver='cg', or a larger noise"
            if share < FINEST:
                cause = f"the noise, {share:.1g} of the variance, is too small for interpolation; {EXACT}"
            raise ConvergenceError(
                f"solver='ski': {self}, expected at most {min(REFUSED * aim, share):.1g}: {cause}"
            )

    def __str__(self) -> str:
        """Return the grid and the deviation in a line."""
        sizes = " x ".join(f"{size:,}" for size in self.matrix.grid.sizes)
        return f"grid of {sizes} points, kernel to within {self.deviation:.1g} of its variance"

    @property
    def shape(self) -> torch.Size:
        """Return ``(n, n)``."""
        return self.matrix.shape

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its products."""
        return self.matrix.dtype

    @property
    def device(self) -> torch.device:
        """Where its products are computed."""
        return self.matrix.device

    def __matmul__(self, v: Tensor) -> Tensor:
        """Return the product with ``v (n, k)``."""
        return self.matrix @ v

    def diagonal(self) -> Tensor:
        """Return the diagonal, ``(n,)``."""
        return self.matrix.diagonal()

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows with these numbers, ``(b, n)``."""
        return self.matrix.rows(index)

    def gradient(self, left: Tensor, right: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
        r"""Return the derivative of :math:`\sum_s u_s^\top K v_s` in parameters of the kernel.

        Args:
            left: ``u``, ``(n, s)``.
            right: ``v``, ``(n, s)``.
            parameters: of the kernel that the operator was made of.

        Returns:
            A derivative for each parameter, in its shape and precision.

        Raises:
            InputError: something that is no parameter of the kernel.
        """
        own = [own_parameter(self._parameters, parameter) for parameter in parameters]
        if not own:
            return []
        slopes = self.matrix.slopes(left, right)
        with torch.enable_grad():
            lags = self.kernel.lags(self.matrix.grid.sizes)
            found = torch.autograd.grad(lags, own, slopes, materialize_grads=True)
        return [slope.to(parameter) for slope, parameter in zip(found, parameters, strict=True)]

    @torch.no_grad()
    def _measured(self, x: Tensor, seed: int) -> float:
        generator = torch.Generator(x.device).manual_seed(seed)
        some = torch.randperm(len(x), generator=generator, device=x.device)[:SAMPLE]
        exact = covariance(self.kernel.kernel, x[some], x)
        return float((exact - self.rows(some)).abs().max()) / _variance(self.kernel.kernel, x)


@torch.no_grad()
def _variance(kernel: gpytorch.kernels.Kernel, x: Tensor) -> float:
    return float(variance(kernel, x[:1]))


def _spacing(kernel: gpytorch.kernels.Kernel, x: Tensor, axis: int, span: float, deviation: float) -> float:
    """Return the spacing along a column that a deviation asks for, or one beyond the memory."""
    origin = torch.zeros_like(x)
    allowed = deviation * _variance(kernel, x)
    most = _affordable(origin.device) / (NUMBERS * BYTES)
    spacing = span if span > 0.0 else 1.0
    while span <= most * spacing and _deviation_along(kernel, origin, axis, spacing, span) > allowed:
        spacing *= FINER
    return spacing


def _deviation_along(
    kernel: gpytorch.kernels.Kernel, origin: Tensor, axis: int, spacing: float, span: float
) -> float:
    """Return the largest deviation between places on a line along a column.

    Args:
        kernel: the covariance function.
        origin: ``(1, d)``, zeros.
        axis: the column.
        spacing: that is tried.
        span: of the column.
    """
    place = torch.arange(OFFSETS).to(origin)
    t = (0.5 + GOLDEN * place) % 1.0  # no period has them all as multiples
    farthest = max(span / spacing, float(CELLS))
    cells = torch.cat([place[:CELLS], torch.logspace(0.0, math.log10(farthest), FARTHER).to(origin).round()])
    stencil = torch.arange(STENCIL).to(origin)

    def at(lag: Tensor) -> Tensor:
        line = origin.repeat(lag.numel(), 1)
        line[:, axis] = lag.flatten() * spacing
        return covariance(kernel, origin, line).reshape(lag.shape)

    points = at(cells[:, None, None] + stencil - stencil[:, None])
    weights = keys_weights(t)
    interpolated = torch.einsum("ap,cpq,bq->cab", weights, points, weights)
    return float((interpolated - at(cells[:, None, None] + t - t[:, None])).abs().max())


def _affordable(device: torch.device) -> float:
    """Return the bytes that a grid may fill."""
    return SHARE * free_memory(device)


def _too_large(box: tuple[Tensor, Tensor], available: float) -> str | None:
    """Return what is to be said of a box of points, if it is too large for the memory."""
    sizes = box[1] - box[0] + 1.0
    memory = NUMBERS * BYTES * math.prod(2.0 * sizes)
    if memory <= available:
        return None
    points = " x ".join(f"{size:,.0f}" for size in sizes.tolist())
    return (
        f"solver='ski' needs a grid of {points} points and about {readable(memory)} for it, and "
        f"{readable(available)} may be taken: "
    )
