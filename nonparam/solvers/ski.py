r"""Structured kernel interpolation: the covariance of rows anywhere, from that of a regular grid.

.. math:: k(x, x') \approx w(x)^\top K_G \, w(x'), \qquad A \approx W K_G W^\top

A row of :math:`W` has :math:`4^d` numbers that are not 0, products of cubic weights along each column. For a
stationary kernel :math:`K_G` is a Toeplitz matrix of :math:`d` levels, a corner of a circulant one that the
multi-dimensional FFT diagonalises: a product costs :math:`O(n 4^d + m \log m)` for :math:`m` points. The
interpolated covariance is a covariance itself, positive semi-definite wherever :math:`K_G` is.

Source: Wilson and Nickisch (2015), Kernel interpolation for scalable structured Gaussian processes, ICML;
Keys (1981), Cubic convolution interpolation for digital image processing, IEEE TASSP 29, equation 15.
"""

from dataclasses import dataclass, field

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn.functional import embedding_bag

__all__ = ["STENCIL", "GridCovariance", "Interpolation", "Lattice", "SkiOperator", "keys_weights"]

STENCIL = 4  # points along each column that a row is interpolated from
BUFFER = 2**24  # numbers that one Fourier transform works on, at most


def keys_weights(t: Tensor) -> Tensor:
    """Return the weights of the points -1, 0, 1 and 2 at places ``t (...)`` between 0 and 1: ``(..., 4)``.

    Quadratics are reproduced exactly, and the interpolant has a continuous slope.

    Source: Keys (1981), equation 15, with a = -1/2.

    Examples:
        >>> keys_weights(torch.tensor(0.5))
        tensor([-0.0625,  0.5625,  0.5625, -0.0625])
    """
    u = 1.0 - t
    outer = torch.stack([-0.5 * t * u * u, -0.5 * u * t * t])
    inner = torch.stack([1.0 + t * t * (1.5 * t - 2.5), 1.0 + u * u * (1.5 * u - 2.5)])
    return torch.stack([outer[0], inner[0], inner[1], outer[1]], -1)


@dataclass(frozen=True)
class Lattice:
    """Regularly spaced points without end, numbered by ``d`` integers.

    Attributes:
        origin: ``(d,)``, the place of the point 0.
        spacing: ``(d,)``, positive.
    """

    origin: Tensor
    spacing: Tensor

    def box(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the lowest and the highest point that rows ``x (n, d)`` are interpolated from: ``(d,)``."""
        below = self._below(x)
        return below.amin(0) - 1.0, below.amax(0) + 2.0

    def interpolation(self, x: Tensor, box: tuple[Tensor, Tensor], dtype: torch.dtype) -> "Interpolation":
        """Return what interpolates at ``x (n, d)`` from the points of a box."""
        below, sizes = self._below(x), sizes_of(box)
        first, t = (below - 1.0 - box[0]).long(), (x - self.origin) / self.spacing - below
        index, weights = first.new_zeros(len(x), 1), t.new_ones(len(x), 1)
        for size, start, along in zip(sizes, first.T, keys_weights(t.T), strict=True):
            places = start[:, None] + torch.arange(STENCIL, device=x.device)
            index = (index[:, :, None] * size + places[:, None]).flatten(1)
            weights = (weights[:, :, None] * along[:, None]).flatten(1)
        return Interpolation(index, weights.to(dtype), sizes)

    def _below(self, x: Tensor) -> Tensor:
        """Return the point below each row; as floats, since rows may be anywhere."""
        return ((x - self.origin) / self.spacing).floor()


def sizes_of(box: tuple[Tensor, Tensor]) -> torch.Size:
    """Return how many points a box has along each column.

    Examples:
        >>> sizes_of((torch.tensor([-1.0, 0.0]), torch.tensor([2.0, 9.0])))
        torch.Size([4, 10])
    """
    return torch.Size([int(size) for size in (box[1] - box[0] + 1.0).tolist()])


@dataclass(frozen=True)
class Interpolation:
    """The sparse matrix ``W (n, m)`` of cubic weights.

    Attributes:
        index: ``(n, 4^d)``, the numbers of the points.
        weights: ``(n, 4^d)``.
        sizes: points along each column; ``m`` is their product.
    """

    index: Tensor
    weights: Tensor
    sizes: torch.Size
    _order: Tensor = field(init=False, repr=False, compare=False)
    _starts: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Sort the entries by their points, for the products with the transpose."""
        points, order = self.index.flatten().sort()
        every = torch.arange(self.sizes.numel(), device=points.device)
        object.__setattr__(self, "_order", order)
        object.__setattr__(self, "_starts", torch.searchsorted(points, every))

    def gather(self, values: Tensor) -> Tensor:
        """Return ``W g`` for ``g (m, k)``: ``(n, k)``."""
        found: Tensor = embedding_bag(
            self.index, values.contiguous(), per_sample_weights=self.weights, mode="sum"
        )
        return found

    def spread(self, v: Tensor) -> Tensor:
        """Return ``W' v`` for ``v (n, k)``: ``(m, k)``."""
        rows, weights = self._order // self.index.shape[1], self.weights.flatten()[self._order]
        found: Tensor = embedding_bag(
            rows, v.contiguous(), self._starts, per_sample_weights=weights, mode="sum"
        )
        return found

    def columns(self, index: Tensor) -> Tensor:
        """Return some columns of ``W'``, ``(m, b)`` for row numbers ``index (b,)``."""
        dense = self.weights.new_zeros(len(index), self.sizes.numel())
        return dense.scatter_(1, self.index[index], self.weights[index]).mT


@dataclass(frozen=True)
class GridCovariance:
    """The covariance matrix of the points of a grid under a stationary kernel.

    Attributes:
        lags: covariances at the `wrapped_lags` of a grid of `sizes`.
        sizes: points along each column.

    Source: Golub and Van Loan (2013), section 4.8.2, level by level.

    Examples:
        >>> sizes = torch.Size([2, 2])
        >>> k = GridCovariance(torch.exp(-GridCovariance.wrapped_lags(sizes).abs().sum(-1)), sizes)
        >>> (k @ torch.eye(4)[:, :1]).T
        tensor([[1.0000, 0.3679, 0.3679, 0.1353]])
    """

    lags: Tensor
    sizes: torch.Size
    _spectrum: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compute the eigenvalues of the circulant matrix, which are real."""
        object.__setattr__(self, "_spectrum", torch.fft.rfftn(self.lags).real)

    @staticmethod
    def embedding(sizes: torch.Size) -> torch.Size:
        """Return the points along each column of the circulant matrix, at least twice those of the grid.

        Examples:
            >>> GridCovariance.embedding(torch.Size([7, 11]))
            torch.Size([16, 24])
        """
        return torch.Size([2 * next_fast_len(size, real=True) for size in sizes])

    @staticmethod
    def wrapped_lags(sizes: torch.Size, device: torch.device | None = None) -> Tensor:
        """Return the lags of the circulant matrix's first row, in points: ``(*embedding, d)``."""
        axes = [torch.arange(size, device=device) for size in GridCovariance.embedding(sizes)]
        wrapped = [torch.where(axis > len(axis) // 2, axis - len(axis), axis) for axis in axes]
        return torch.stack(torch.meshgrid(*wrapped, indexing="ij"), -1)

    def __matmul__(self, values: Tensor) -> Tensor:
        """Return the product with ``values (m, k)``, in ``O(k m log m)``."""
        width = max(1, BUFFER // self.lags.numel())
        return torch.cat([self._product(part) for part in values.split(width, 1)], 1)

    def _product(self, values: Tensor) -> Tensor:
        found = self._transform(values).mul_(self._spectrum)
        for axis, size in enumerate(self.sizes[:-1], 1):
            found = torch.fft.ifft(found, dim=axis).narrow(axis, 0, size)
        last = torch.fft.irfft(found, n=self.lags.shape[-1])
        product: Tensor = last[..., : self.sizes[-1]].flatten(1).mT
        return product

    def slopes(self, left: Tensor, right: Tensor) -> Tensor:
        r"""Return the derivative of :math:`\sum_s a_s^\top K_G b_s` in the lags, in their shape.

        Args:
            left: ``a``, ``(m, s)``.
            right: ``b``, ``(m, s)``.
        """
        width = max(1, BUFFER // self.lags.numel())
        total = torch.zeros_like(self._spectrum, dtype=torch.complex128)
        for a, b in zip(left.split(width, 1), right.split(width, 1), strict=True):
            total += (self._transform(a) * self._transform(b).conj()).sum(0)
        slopes: Tensor = torch.fft.irfftn(total, s=self.lags.shape)
        return slopes

    def _transform(self, values: Tensor) -> Tensor:
        """Return the transforms of the columns, ``(k, ...)``; each axis is padded when its turn comes."""
        found: Tensor = torch.fft.rfft(values.mT.unflatten(1, self.sizes), n=self.lags.shape[-1])
        for axis in range(len(self.sizes) - 1, 0, -1):
            found = torch.fft.fft(found, n=self.lags.shape[axis - 1], dim=axis)
        return found

    def nearby(self) -> Tensor:
        """Return the covariance of the points of one stencil, ``(4^d, 4^d)``."""
        d = len(self.sizes)
        places = torch.cartesian_prod(*[torch.arange(STENCIL, device=self.lags.device)] * d).reshape(-1, d)
        between = places[:, None] - places  # negative ones count from the end, as the lags do
        return self.lags[tuple(between.unbind(-1))]


@dataclass(frozen=True)
class SkiOperator:
    """The interpolated covariance ``W K W'`` of ``n`` rows.

    Attributes:
        grid: the covariance of the points.
        interpolation: of the rows.

    Source: Wilson and Nickisch (2015), equation 7.

    Examples:
        >>> lattice = Lattice(torch.zeros(1), torch.full((1,), 0.25))
        >>> x = torch.tensor([[0.1], [0.7], [1.9]])
        >>> box = lattice.box(x)
        >>> rows = lattice.interpolation(x, box, torch.float32)
        >>> lags = GridCovariance.wrapped_lags(rows.sizes) * lattice.spacing
        >>> k = SkiOperator(GridCovariance(torch.exp(-0.5 * lags[..., 0] ** 2), rows.sizes), rows)
        >>> float((k.rows(torch.tensor([0])) - torch.exp(-0.5 * (x - x[0]) ** 2).T).abs().max()) < 1e-3
        True
    """

    grid: GridCovariance
    interpolation: Interpolation

    @property
    def shape(self) -> torch.Size:
        """Return ``(n, n)``."""
        n = len(self.interpolation.index)
        return torch.Size((n, n))

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its products."""
        return self.grid.lags.dtype

    @property
    def device(self) -> torch.device:
        """Where its products are computed."""
        return self.grid.lags.device

    def __matmul__(self, v: Tensor) -> Tensor:
        """Return the product with ``v (n, k)``, in ``O(k (n 4^d + m log m))``."""
        return self.interpolation.gather(self.grid @ self.interpolation.spread(v))

    def diagonal(self) -> Tensor:
        """Return the diagonal, ``(n,)``."""
        weights = self.interpolation.weights
        return ((weights @ self.grid.nearby()) * weights).sum(1)

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows with these numbers, ``(b, n)``, in ``O(b (n 4^d + m log m))``."""
        return self.cross(self.interpolation, index)

    def cross(self, other: Interpolation, index: Tensor) -> Tensor:
        """Return the covariance of rows of another interpolation on this grid with these, ``(b, n)``.

        Args:
            other: of other rows, from the points of the same box.
            index: ``(b,)``, their numbers.
        """
        width = max(1, BUFFER // self.grid.lags.numel())
        parts = [self.interpolation.gather(self.grid @ other.columns(some)) for some in index.split(width)]
        return torch.cat(parts, 1).mT

    def slopes(self, left: Tensor, right: Tensor) -> Tensor:
        r"""Return the derivative of :math:`\sum_s u_s^\top W K_G W^\top v_s` in the lags, in float64.

        Args:
            left: ``u``, ``(n, s)``.
            right: ``v``, ``(n, s)``.
        """
        spread = self.interpolation.spread
        return self.grid.slopes(spread(left), spread(right))
