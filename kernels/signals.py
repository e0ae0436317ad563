r"""What is known of the numbers of a layer whose width is infinite: covariances, and the tangent kernel's.

Where the numbers are at places of an image or a sequence, they have a covariance at every place, or between
every two places, which layers that mix places ask for.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Field", "Shape", "Signal", "apart", "combine", "spread", "variances_of"]

Field = tuple[Tensor | None, Tensor, Tensor | None]  # between rows and others; variances of both


@dataclass(frozen=True)
class Shape:
    """What the numbers of a layer are, of which a row has ``units`` at each place.

    Attributes:
        units: columns, or channels.
        places: height and width of an image, or the length of a sequence; none for columns.
        is_gaussian: whether they tend to a Gaussian process as layers grow wider, so that what an activation
            makes of them is known.
    """

    units: int
    places: tuple[int, ...] = ()
    is_gaussian: bool = False


@dataclass(frozen=True)
class Signal:
    """Covariances of the numbers of a layer for two sets of rows, and the tangent kernel's.

    A field has the entries between rows and others ``(*batch, n, m, *grid)``, or ``None`` where only
    variances are wanted; those of the rows with themselves ``(*batch, n, *grid)``; and those of the others
    ``(*batch, m, *grid)``, or ``None`` where they are the same rows. The grid is empty for columns,
    ``(h, w)`` for the same place of both images, and ``(h, h, w, w)`` for every two places.

    Attributes:
        covariance: of the numbers.
        tangent: the tangent kernel; ``None`` where it is not wanted.
        dims: the number of dimensions of places: 0, 1 or 2.
        is_paired: whether there are entries for every two places.
    """

    covariance: Field
    tangent: Field | None
    dims: int = 0
    is_paired: bool = False

    @property
    def grid(self) -> int:
        """The number of dimensions of the grid."""
        return self.dims * (2 if self.is_paired else 1)

    def map(self, function: Callable[[Tensor], Tensor], dims: int, is_paired: bool) -> "Signal":
        """Return what a linear function of the places makes of all entries."""
        tangent = None if self.tangent is None else combine(function, self.tangent)
        return Signal(combine(function, self.covariance), tangent, dims, is_paired)


def combine(function: Callable[..., Tensor], first: Field, *others: Field) -> Field:
    """Apply a function to the entries of fields, where they have some."""
    a, b, c = (None if each[0] is None else function(*each) for each in zip(first, *others, strict=True))
    assert b is not None
    return a, b, c


def spread(number: Tensor, grid: int) -> Field:
    """Return ``(*batch,)`` numbers so that they broadcast against the entries of a field with a grid."""
    one = number.reshape(*number.shape, *[1] * (1 + grid))
    return one[..., None], one, one


def variances_of(signal: Signal) -> tuple[Tensor, Tensor]:
    """Return the variances at each place of the rows, and of the others: ``(*batch, n, *places)``."""
    _, left, right = signal.covariance
    second = left if right is None else right
    if not signal.is_paired:
        return left, second
    return _same_places(left, signal.dims), _same_places(second, signal.dims)


def apart(signal: Signal) -> tuple[Field, Field]:
    """Return the variances of both numbers of each entry of a field, so that they broadcast against it."""
    left, right = variances_of(signal)
    firsts, seconds = (left, right), (left, right)
    if signal.is_paired:
        firsts, seconds = (
            (_paired(left, signal.dims, first), _paired(right, signal.dims, first)) for first in (True, False)
        )
    rows, others = firsts[0].unsqueeze(-1 - signal.grid), seconds[1].unsqueeze(-2 - signal.grid)
    return (rows, *firsts), (others, *seconds)


def _same_places(q: Tensor, dims: int) -> Tensor:
    """Return the entries ``(..., h, w)`` of ``(..., h, h, w, w)`` for the same place."""
    for dim in range(dims):  # each diagonal goes to the end
        q = q.diagonal(dim1=-2 * dims + dim, dim2=-2 * dims + dim + 1)
    return q


def _paired(q: Tensor, dims: int, first: bool) -> Tensor:
    """Return ``(..., h, w)`` as ``(..., h, 1, w, 1)`` for the first place, ``(..., 1, h, 1, w)`` else."""
    for dim in range(dims):
        q = q.unsqueeze(q.ndim - 2 * dim if first else q.ndim - 2 * dim - 1)
    return q
