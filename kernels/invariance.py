r"""Kernels of functions that a group of maps leaves as they are, or nearly so.

A function is averaged over a group :math:`G` by :math:`\bar f(x) = |G|^{-1} \sum_g f(g x)`; where
:math:`f \sim GP(0, k)`, the average has the kernel

.. math:: k_G(x, x') = \frac{1}{|G|^2} \sum_{g, g' \in G} k(g x, g' x')
          = \frac{1}{|G|} \sum_{g \in G} k(x, g x') ,

the second form only where :math:`k(g x, g x') = k(x, x')` for all maps and hyperparameters: an isotropic
kernel under rotations, reflections and permutations, also a kernel with a lengthscale for each column under
changes of sign. It is taken where the kernels are known to be such, the first form elsewhere.

Source: Haasdonk and Burkhardt (2007), Invariant kernel functions for pattern analysis and machine learning,
Machine Learning 68, section 4.
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeAlias

import gpytorch
import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.base import Hyperparameter, Kernel, Value, formula, show
from nonparam.kernels.composition import Product, Scale, Sum, on_columns
from nonparam.kernels.evaluate import covariance, variance
from nonparam.kernels.groups import Group, Map, check_group
from nonparam.kernels.linear import Constant
from nonparam.kernels.stationary import RBF, Matern, Periodic, RationalQuadratic

__all__ = ["Invariant", "SoftInvariant"]

AnyKernel: TypeAlias = gpytorch.kernels.Kernel

ISOTROPIC = (RBF, Matern, RationalQuadratic)  # with one lengthscale
EVEN = (*ISOTROPIC, Periodic)  # in every column's difference


class _Averaged(Kernel):
    """A base kernel and a group over which it is averaged."""

    options: ClassVar[dict[str, Any]] = {"group": None, "columns": None}
    center = Hyperparameter("X", per_column=True, positive=False, learnt=False)

    def __init__(
        self,
        base: AnyKernel,
        group: str | Sequence[Map],
        columns: Sequence[int] | None,
        values: dict[str, Value],
        active_dims: Sequence[int] | None,
        fixed: Sequence[str],
    ) -> None:
        super().__init__(values, active_dims, fixed)
        if not isinstance(base, gpytorch.kernels.Kernel):
            raise InputError(f"{type(self).__name__} takes a kernel and a group, got {base!r}")
        self.base = base
        self.group = group
        self.columns = columns

    @property
    def group(self) -> str | tuple[Map, ...]:
        """The name of the group, or its maps."""
        return self._group

    @group.setter
    def group(self, value: str | Sequence[Map]) -> None:
        self._group = check_group(type(self).__name__, value)

    @property
    def columns(self) -> tuple[int, ...] | None:
        """The columns that a named group acts on; all by default."""
        return self._acted

    @columns.setter
    def columns(self, value: Sequence[int] | None) -> None:
        try:
            self._acted = self._columns(value)
        except InputError as error:
            raise InputError(str(error).replace("active_dims", "columns")) from None

    def check_columns(self, columns: int) -> None:
        """Raise `InputError` unless the group can act on ``columns`` of ``X``."""
        super().check_columns(columns)
        self._maps(columns)

    def components(self) -> dict[str, AnyKernel]:
        """Return the base kernel."""
        return {"base": self.base}

    def _maps(self, columns: int) -> Group:
        if self.columns is not None and not isinstance(self.group, str):
            raise InputError(
                f"{type(self).__name__}: columns= is for a group with a name, got {self.columns} beside a "
                "list of maps: let the maps leave the other columns as they are"
            )
        return Group.of(self.group, self.columns or range(columns), columns)

    def _images(self, x: Tensor) -> list[Tensor]:
        """Return the images of the rows under all maps but the identity, each ``(*batch, n, d)``."""
        centred = x - self.center
        rows = centred.reshape(-1, x.shape[-1])
        images = self._maps(x.shape[-1]).images(rows)
        return [self.center + image.reshape(centred.shape) for image in images]

    def _both(self, x1: Tensor, x2: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the base kernel's matrix and its average over the group, ``(*batch, n, m)``."""
        own = covariance(self.base, x1, x2)
        left, right = self._images(x1), self._images(x1 if x2 is None else x2)
        other = x1 if x2 is None else x2
        total, count = own, 1 + len(right)
        for image in right:
            total = total + covariance(self.base, x1, image)
        if self._commutes(x1.shape[-1]):
            return own, total / count
        for i, image in enumerate(left):
            total = total + covariance(self.base, image, other)
            for j, opposite in enumerate(right):
                same = x2 is None and i == j
                total = total + covariance(self.base, image, None if same else opposite)
        return own, total / count**2

    def _variances(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the base kernel's variances and those of its average, ``(*batch, n)``."""
        own, images = variance(self.base, x), self._images(x)
        total, count = own, 1 + len(images)
        for image in images:
            total = total + self._between(x, image)
        if self._commutes(x.shape[-1]):
            return own, total / count
        for i, image in enumerate(images):
            total = total + self._between(image, x) + variance(self.base, image)
            for j, opposite in enumerate(images):
                total = total + (self._between(image, opposite) if i != j else 0.0)
        return own, total / count**2

    def _between(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Return the covariance of each row of ``x1`` with the same row of ``x2``, ``(*batch, n)``."""
        rows = torch.broadcast_tensors(x1, x2)
        each = [torch.movedim(x.reshape(-1, *x.shape[-2:], 1), -3, 0).mT for x in rows]  # (n, batch, 1, d)
        found = torch.movedim(covariance(self.base, *each)[..., 0, 0], 0, -1)
        return found[0] if len(found) == 1 else found

    def _commutes(self, columns: int) -> bool:
        """Return whether one average suffices, at all hyperparameters."""
        return is_jointly_invariant(self.base, self._maps(columns))

    def arguments(self) -> Iterator[tuple[str, Any]]:
        """Yield the arguments that the formula shows: a centre that waits for the data is not the default."""
        yield from super().arguments()
        if "center" in self.unset:
            yield "center", None

    def __repr__(self) -> str:
        """Return the formula."""
        arguments = [formula(self.base)]
        arguments += [f"{name}={show(value)}" for name, value in self.arguments()]
        return f"{self.keyword}({', '.join(arguments)})"


def is_jointly_invariant(kernel: AnyKernel, group: Group) -> bool:
    """Return whether ``k(g x, g x') = k(x, x')`` is known to hold for all maps and hyperparameters.

    Args:
        kernel: any.
        group: of maps.

    Examples:
        >>> quarter_turns = Group.of("c4", [0, 1], 2)
        >>> [is_jointly_invariant(RBF(length), quarter_turns) for length in (1.0, [1.0, 1.0])]
        [True, False]
    """
    if not group.isometries:
        return False
    if isinstance(kernel, Scale | Sum | Product):
        if kernel.active_dims is not None and not group.signs_only:
            return False
        return all(is_jointly_invariant(part, group) for part in kernel.components().values())
    if type(kernel) is Constant:
        return True
    if group.signs_only:
        return type(kernel) in EVEN
    isotropic = type(kernel) in ISOTROPIC and kernel.raw_lengthscale.shape[-1] == 1
    return isotropic and kernel.active_dims is None


class Invariant(_Averaged):
    r"""The kernel of functions that a group leaves as they are: :math:`f(g x) = f(x)`.

    .. math:: k_G(x, x') = \frac{1}{|G|^2} \sum_{g, g' \in G} k(g x, g' x')

    Args:
        base: the kernel that is averaged.
        group: ``"reflection"``: through the centre, all columns change their signs together (for mirrors name
            one column); ``"permutation"`` of columns; ``"c4"``: quarter turns of two columns; ``"d4"``: those
            and the reflections of a square; or a list of functions that take and return rows ``(n, d)``,
            each row on its own, to which the identity is added. With every two of them the list must have
            the one after the other.
        columns: the columns that a named group acts on; all by default. The others stay as they are.
        center: the fixed point, in the units of ``X``; the origin by default, ``None`` for the mean of the
            data. It is not learnt.
        active_dims: the columns it looks at; all by default.
        fixed: names of hyperparameters that are not learnt.

    Raises:
        InputError: a group that is none, or that cannot act on the columns; on evaluation a map that fails,
            changes the shape, returns NaN, or mixes rows, and maps that are no group at the rows seen.

    Source: Haasdonk and Burkhardt (2007), section 4.

    Examples:
        >>> even = Invariant(RBF(1.0), "reflection")
        >>> x = torch.tensor([[0.5], [-0.5], [2.0]], dtype=torch.float64)
        >>> even.matrix(x).detach()
        tensor([[0.8033, 0.8033, 0.1843],
                [0.8033, 0.8033, 0.1843],
                [0.1843, 0.1843, 0.5002]], dtype=torch.float64)
    """

    keyword = "invariant"

    def __init__(
        self,
        base: AnyKernel,
        group: str | Sequence[Map],
        *,
        columns: Sequence[int] | None = None,
        center: Value = 0.0,
        active_dims: Sequence[int] | None = None,
        fixed: Sequence[str] = (),
    ) -> None:
        super().__init__(base, group, columns, {"center": center}, active_dims, fixed)

    @property
    def has_amplitude(self) -> bool:
        """Whether the base kernel has."""
        return isinstance(self.base, Kernel) and self.base.has_amplitude

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the average of the base kernel's matrices."""
        return self._both(x1, x2)[1]

    def diagonal(self, x: Tensor) -> Tensor:
        """Return the variances of the averaged functions."""
        return self._variances(x)[1]


class SoftInvariant(_Averaged):
    r"""The kernel of functions that a group leaves nearly as they are; how nearly is learnt.

    .. math:: k(x, x') = a^2 k_G(x, x') + b^2 k(x, x')

    with the kernel :math:`k_G` of `Invariant`. The evidence says whether the symmetry holds: where it does,
    :math:`b^2 / a^2` goes to 0; a function without the symmetry has a small :math:`a^2`. The prior of
    :math:`b^2 / a^2` spans eight decades, since nobody knows how exact a symmetry is.

    Args:
        base: the kernel of functions without the symmetry, of variance 1: :math:`a^2` is its variance.
        group: as for `Invariant`.
        variance: :math:`a^2`, in units of ``y`` squared; ``None`` to start from the data.
        breaking: :math:`b^2 / a^2`; ``None`` to start in the middle of its prior, at 1e-4.
        columns: as for `Invariant`, as all that follow.
        center: see there.
        active_dims: see there.
        fixed: see there.

    Raises:
        InputError: as `Invariant`, or a variance or ratio that is not positive.

    Source: Finzi, Benton and Wilson (2021), Residual pathway priors for soft equivariance constraints,
    NeurIPS, section 4, whose form for Gaussian processes this is.

    Examples:
        >>> SoftInvariant(RBF(1.0, ard=False), "c4", variance=2.0, breaking=0.001)
        soft_invariant(rbf(ard=False, lengthscale=1), group='c4', center=0, variance=2, breaking=0.001)
    """

    keyword = "soft_invariant"
    variance = Hyperparameter("y^2")
    breaking = Hyperparameter("1")

    def __init__(
        self,
        base: AnyKernel,
        group: str | Sequence[Map],
        *,
        variance: Value = None,
        breaking: Value = None,
        columns: Sequence[int] | None = None,
        center: Value = 0.0,
        active_dims: Sequence[int] | None = None,
        fixed: Sequence[str] = (),
    ) -> None:
        values = {"center": center, "variance": variance, "breaking": breaking}
        super().__init__(base, group, columns, values, active_dims, fixed)

    def parts(self, columns: int) -> Sequence[AnyKernel]:
        """Return the kernels of the invariant functions, and of those without the symmetry."""
        center = self.center.detach().reshape(-1).tolist()
        hard = Invariant(self.base, self.group, columns=self.columns, center=center)
        variance, breaking = self.variance.item(), self.breaking.item()
        return on_columns(self, (Scale(hard, variance), Scale(self.base, variance * breaking)))

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the weighted sum of the base kernel's matrix and its average."""
        own, average = self._both(x1, x2)
        variance, breaking = self.variance[..., None, None], self.breaking[..., None, None]
        matrix: Tensor = variance * (average + breaking * own)
        return matrix

    def diagonal(self, x: Tensor) -> Tensor:
        """Return the weighted sum of the variances."""
        own, average = self._variances(x)
        diagonal: Tensor = self.variance[..., None] * (average + self.breaking[..., None] * own)
        return diagonal
