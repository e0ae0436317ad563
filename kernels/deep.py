r"""Kernels of learnt features: a kernel on what a network makes of each row."""

from collections.abc import Sequence
from typing import Any

import gpytorch
import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.base import Composable, formula
from nonparam.kernels.composition import with_amplitude
from nonparam.kernels.evaluate import covariance, variance

__all__ = ["DeepKernel"]

ALIKE = 1e-4  # relative to the size of the features: what rounding in float32 may change, and a batch may not
CHANGING = (
    "the features of a row change with the rows beside it: expected a feature_extractor that is a function "
    "of one row; scale columns by constants, and call .eval() on one with BatchNorm or Dropout"
)


class DeepKernel(Composable, gpytorch.kernels.Kernel):  # type: ignore[misc]  # gpytorch is untyped
    r"""A kernel of features that a network computes from each row.

    .. math:: k(x, x') = k_0(g_w(x), g_w(x'))

    The weights are hyperparameters like any other. The features of a row must be a function of that row
    alone: scaling by the extremes of a batch, or ``BatchNorm`` and ``Dropout`` in training mode, would put
    the likelihood of a subset in another space, and are refused when the kernel is evaluated.

    Args:
        feature_extractor: takes ``(n, d)``, returns ``(n, p)``.
        base_kernel: of the features; hyperparameters that wait for the data start as for features of order 1.
        active_dims: the columns of ``X`` that the network sees; all by default.

    Raises:
        InputError: no module or no kernel; on evaluation features that are not finite, of the wrong shape, or
            that depend on the other rows.

    Source: Wilson, Hu, Salakhutdinov and Xing (2016), Deep kernel learning, AISTATS, equation 5.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> k = DeepKernel(torch.nn.Linear(2, 1, bias=False).double(), RBF(1.0))
        >>> covariance(k, torch.zeros(2, 2, dtype=torch.float64)).detach()
        tensor([[1., 1.],
                [1., 1.]], dtype=torch.float64)
    """

    keyword = "deep"

    def __init__(
        self,
        feature_extractor: torch.nn.Module,
        base_kernel: gpytorch.kernels.Kernel,
        *,
        active_dims: Sequence[int] | None = None,
    ) -> None:
        super().__init__(active_dims=None if active_dims is None else tuple(active_dims))
        if not isinstance(feature_extractor, torch.nn.Module):
            raise InputError(f"feature_extractor must be a torch.nn.Module, got {feature_extractor!r}")
        if not isinstance(base_kernel, gpytorch.kernels.Kernel):
            raise InputError(f"base_kernel must be a kernel, got {base_kernel!r}")
        self.feature_extractor = feature_extractor
        self.base_kernel = base_kernel

    @property
    def has_amplitude(self) -> bool:
        """Whether it can be as large as the data ask; see `with_amplitude`."""
        return with_amplitude(self.base_kernel) is self.base_kernel

    def features(self, x: Tensor) -> Tensor:
        """Return the features of the rows ``x (n, d)``, ``(n, p)``.

        Raises:
            InputError: features that are not finite, of the wrong shape, or that depend on the other rows.
        """
        found = self._extracted(x)
        with torch.no_grad():
            self._check_rows(x, found.detach())
        return found

    def _check_rows(self, x: Tensor, found: Tensor) -> None:
        """Raise `InputError` unless the features are finite, and those of any of the rows by themselves."""
        if not bool(torch.isfinite(found).all()):
            among = self._extracted(torch.cat([x, x + 1.0]))[: len(x)]
            if bool(torch.isfinite(among).all()):  # one row has no extremes to be scaled by
                raise InputError(CHANGING)
            raise InputError(
                "the feature_extractor returned NaN or infinity: try smaller weights, or inputs of order 1"
            )
        if len(x) <= 2:
            return
        first, middle, last = 0, len(x) // 2, len(x) - 1
        for pair in ([first, middle], [middle, last]):  # no two rows are the extremes of both pairs
            gap = (self._extracted(x[pair]) - found[pair]).abs().max()
            if not bool(gap <= ALIKE * found.abs().max()):
                raise InputError(CHANGING)

    def _extracted(self, x: Tensor) -> Tensor:
        try:
            found: Any = self.feature_extractor(x.clone())  # it may work in place
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            shape = tuple(x.shape)
            raise InputError(f"the feature_extractor failed on rows of shape {shape}: {error}") from error
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(x):
            came = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"the feature_extractor must return a tensor of shape ({len(x)}, p) for {len(x)} rows, got "
                f"{came}"
            )
        return found.to(x.dtype)

    def forward(
        self, x1: Tensor, x2: Tensor, diag: bool = False, last_dim_is_batch: bool = False, **params: Any
    ) -> Tensor:
        """Evaluate for GPyTorch, whose models call it."""
        if last_dim_is_batch:
            raise InputError("last_dim_is_batch is not supported by a deep kernel")
        same = x1 is x2 or torch.equal(x1, x2)
        left = self.features(x1)
        if diag and same:
            return variance(self.base_kernel, left)
        matrix = covariance(self.base_kernel, left, None if same else self.features(x2))
        return matrix.diagonal(dim1=-2, dim2=-1) if diag else matrix

    def __repr__(self) -> str:
        """Return the base kernel and the name of the network."""
        return f"{self.keyword}({type(self.feature_extractor).__name__}, {formula(self.base_kernel)})"

    __str__ = __repr__
