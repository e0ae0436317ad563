r"""The tangent kernel of a given finite network.

To first order in the change of its weights, a network is a linear model whose features are its derivatives,

.. math:: f_w(x) \approx f_{w_0}(x) + J(x) (w - w_0), \quad J(x) = \partial f_w(x) / \partial w
          \text{ at } w_0.

With independent normal changes of equal variance :math:`s`, the linear part is a Gaussian process with the
kernel :math:`s\, J(x) J(x')^\top`: its evidence is that of the linearised network, and its predictions
without noise are those of gradient descent on the squared error, run to its end.

The matrix of many rows is :math:`J J^\top`. Its products with vectors are a derivative backwards,
:math:`u = J^\top v`, and one forwards, :math:`J u`. Neither needs :math:`J`, which has a column for each
weight.

Sources: Jacot, Gabriel and Hongler (2018), Neural tangent kernel, NeurIPS; Lee et al. (2019), Wide neural
networks of any depth evolve as linear models under gradient descent, NeurIPS; Novak, Sohl-Dickstein and
Schoenholz (2022), Fast finite width neural tangent kernel, ICML, section 3, for contraction and products.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from threading import RLock
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import UninitializedParameter

from nonparam.errors import InputError
from nonparam.kernels.base import show
from nonparam.kernels.matrix_free import MatrixFree
from nonparam.kernels.tiles import strips_of
from nonparam.shortage import is_out_of_memory

__all__ = ["EmpiricalNTK"]

Weights = dict[str, Tensor]

BLOCK = 2**28  # bytes of derivatives that are kept while those of other rows pass by
PIECE = 2**24  # bytes of those: what is near the cache is three times as fast to make as what is not
FEWEST = 16  # rows of either: with fewer a product of the two waits for the memory
VECTORS = 2**26  # bytes of changes of the weights, and of numbers within the network, in a product
BYTES = 8  # of a number
ALIKE = 1e-4  # relative to the outputs: what rounding in float32 may change, and other rows may not

_one_at_a_time = RLock()


class _Size(NamedTuple):
    """Numbers that a network takes: outputs, weights, and what one row leaves within it."""

    outputs: int
    weights: int
    within: int

    def rows(self, memory: int) -> int:
        """Return of how many rows the derivatives fill so many bytes."""
        return max(FEWEST, memory // (BYTES * self.outputs * (self.weights + self.within)))


class EmpiricalNTK(MatrixFree):
    r"""The tangent kernel of a network: how alike its outputs change with its weights.

    .. math:: k(x, x') = \frac1m \sum_{o=1}^m \sum_w \frac{\partial f_o(x)}{\partial w}
              \frac{\partial f_o(x')}{\partial w}

    It is taken at the weights that the network has when it is given, and of those that require gradients.
    The network is copied, in float64, and never changes: only an amplitude is learnt. A network with several
    outputs has a kernel of each; the default is their mean (the trace form), which is the limit of each as
    the network grows wide.

    `nonparam.kernels.operator.KernelOperator` multiplies by the matrix of many rows without evaluating it.
    `matrix` takes :math:`O(n^2 p)` for :math:`p` weights, in a memory that does not grow with :math:`n p`;
    gradients flow through it to the rows. Files that `GPRegressor.save` writes hold the weights, not the
    code: give ``load`` a kernel of a network that is built the same way.

    Args:
        module: takes ``(n, d)``, returns ``(n, m)``; each row of it a function of the same row alone.
        output: the number of one output; by default the mean over all of them.
        active_dims: the columns of ``X`` that the network sees; all by default.

    Raises:
        InputError: no module, one without weights that require gradients, or with ``BatchNorm`` or
            ``Dropout`` in training mode; on evaluation outputs that are not finite, of another shape, or that
            depend on the other rows, or a module that cannot be differentiated by `torch.func`.

    Source: as above.

    Examples:
        >>> line = torch.nn.Linear(2, 1).double()
        >>> k = EmpiricalNTK(line)
        >>> k.matrix(torch.tensor([[1.0, 2.0], [0.0, 3.0]], dtype=torch.float64))
        tensor([[ 6.,  7.],
                [ 7., 10.]], dtype=torch.float64)
        >>> 0.5 * k
        0.5 * empirical_ntk(Linear)
    """

    keyword = "empirical_ntk"
    options: ClassVar[dict[str, Any]] = {"output": None}

    def __init__(
        self,
        module: torch.nn.Module,
        *,
        output: int | None = None,
        active_dims: Sequence[int] | None = None,
    ) -> None:
        super().__init__({}, active_dims)
        self._set_param("module", module)
        self.output = output

    @property
    def output(self) -> int | None:
        """The number of the output whose kernel it is; ``None`` for the mean over all."""
        return self._output

    @output.setter
    def output(self, value: int | None) -> None:
        if value is not None and (isinstance(value, bool) or not isinstance(value, Integral) or value < 0):
            raise InputError(
                f"EmpiricalNTK: output must be the number of an output, from 0, or None, got {value!r}"
            )
        self._output = value

    @property
    def module(self) -> torch.nn.Module:
        """A copy of the network, those weights that count require gradients."""
        found = copy.deepcopy(self.network)
        for name, parameter in found.named_parameters():
            parameter.requires_grad_(name in self._moving)
        return found

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"module": self.module} | super().get_params(deep)

    def _set_param(self, key: str, value: Any) -> None:
        if key != "module":
            return super()._set_param(key, value)
        self.network = _frozen_copy(value)
        self._moving = frozenset(name for name, p in value.named_parameters() if p.requires_grad)

    def train(self, mode: bool = True) -> "EmpiricalNTK":
        """Do nothing for the network, which stays as it was given: GPyTorch's models switch modes."""
        self.training = mode
        return self

    def __repr__(self) -> str:
        """Return the name of the network, and the other arguments: there is no text that stands for all."""
        said = [type(self.network).__name__, *(f"{name}={show(value)}" for name, value in self.arguments())]
        return f"{self.keyword}({', '.join(said)})"

    # entries: derivatives of rows, contracted ------------------------------------------------

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the products of the derivatives at the rows of ``x1`` and of ``x2``."""
        size, others = self._check(x1), x1 if x2 is None else x2
        if x2 is not None:
            self._check(x2)
        found = x1.new_empty(len(x1), len(others))
        for rows in strips_of(len(x1), size.rows(BLOCK)):
            left = self._derivatives(x1[rows])
            for columns in strips_of(len(others), size.rows(PIECE)):
                stop = rows.stop if x2 is not None else min(rows.stop, columns.stop)  # no entry twice
                if stop > rows.start:
                    right = self._derivatives(others[columns])
                    found[rows.start : stop, columns] = _contracted(left, right, stop - rows.start)
        found /= size.outputs
        if x2 is None:
            upper = found.triu(1)
            found = torch.diagonal_scatter(upper + upper.mT, self.diagonal(x1))
        _check_finite(found)
        return found

    def diagonal(self, x: Tensor) -> Tensor:
        """Return the squared lengths of the derivatives at the rows."""
        size, found = self._check(x), x.new_empty(len(x))
        for rows in strips_of(len(x), size.rows(PIECE)):
            slopes = self._derivatives(x[rows])
            found[rows] = torch.stack([each.square().sum(1) for each in slopes.values()]).sum(0)
        found /= size.outputs
        _check_finite(found)
        return found

    def features(self, x: Tensor) -> Tensor:
        r"""Return the features whose products are the kernel: the derivatives, divided by :math:`\sqrt m`.

        Args:
            x: ``(n, d)``, the active columns.

        Returns:
            ``(n, m p)``: for small networks, since nothing else has them in one piece.

        Raises:
            InputError: as for the class.

        Examples:
            >>> EmpiricalNTK(torch.nn.Linear(2, 1)).features(torch.tensor([[3.0, 4.0]]))
            tensor([[3., 4., 1.]])
        """
        size = self._check(x)
        found = torch.cat(list(self._derivatives(x).values()), 1).to(x)
        _check_finite(found)
        return found / math.sqrt(size.outputs)

    def _derivatives(self, x: Tensor) -> Weights:
        """Return derivatives of all outputs in each tensor of weights, ``(n, m q)``."""

        def alone(row: Tensor) -> Weights:
            outputs, pull = self._vjp(row[None])
            units = torch.eye(outputs.shape[1], dtype=outputs.dtype, device=outputs.device)
            each = [pull(unit[None]) for unit in units]  # some layers fail in a vmap within a vmap
            if len(each) == 1:
                return each[0]
            return {name: torch.stack([slopes[name] for slopes in each]) for name in each[0]}

        with _evaluation(x):
            slopes = vmap(alone)(self._cast(x))
        return {name: each.flatten(1) for name, each in slopes.items()}

    # products: a derivative backwards, and one forwards ---------------------------------------

    @torch.no_grad()
    def product(self, x1: Tensor, x2: Tensor, across: Tensor) -> Tensor:
        """Return products with the matrix, without it and without derivatives of rows; see `MatrixFree`."""
        size = self._check(x1)
        height = max(1, VECTORS // (BYTES * size.outputs * size.weights))
        found = torch.zeros(len(across), len(x1), dtype=torch.float64, device=x1.device)
        for vectors in strips_of(len(across), height):
            some = self._cast(across[vectors])
            rows = max(1, VECTORS // (BYTES * len(some) * size.outputs * (size.within + 1)))
            change = self._backwards(x2, some, rows, size.outputs)
            for each in strips_of(len(x1), rows):
                found[vectors, each] = self._forwards(x1[each], change, size.outputs).double()
        _check_finite(found)
        return found

    def _backwards(self, x: Tensor, across: Tensor, height: int, outputs: int) -> Weights:
        """Return ``J^T v`` of each output's derivatives, ``(k m, ...)`` for vectors ``(k, n)``."""
        weights, eye = self._weights(), torch.eye(outputs, dtype=across.dtype, device=across.device)
        total = {name: each.new_zeros(len(across) * outputs, *each.shape) for name, each in weights.items()}
        for rows in strips_of(len(x), height):
            part = self._cast(x[rows])
            pulled = (across[:, None, rows, None] * eye[:, None]).flatten(0, 1)
            with _evaluation(part):
                values, pull = self._vjp(part)
                slopes = vmap(pull)(pulled)
            _check_finite(values)
            for name, slope in slopes.items():
                total[name] += slope
        return total

    def _forwards(self, x: Tensor, change: Weights, outputs: int) -> Tensor:
        """Return the mean over outputs of ``J u``, ``(k, n)``, for changes of the weights ``(k m, ...)``.

        It is the transpose of what leads backwards: that costs as much as torch's own forward derivatives,
        which are kept for the whole process, so that threads spoil each other's, and which fewer modules
        have.
        """
        part = self._cast(x)
        with _evaluation(x):
            values, pull = self._vjp(part)
            push: Any = vjp(pull, torch.zeros_like(values))[1]
            pushed = vmap(push)(change)[0]
        found: Tensor = pushed.unflatten(0, (-1, outputs)).diagonal(dim1=1, dim2=3).mean(-1)
        return found

    def _vjp(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Weights]]:
        """Return outputs, and the function that takes derivatives in them back to the weights."""
        found: Any = vjp(lambda weights: self._outputs(weights, x), self._weights())
        return found[0], lambda slope: found[1](slope)[0]

    # the network -----------------------------------------------------------------------------

    def _weights(self) -> Weights:
        return {name: each.detach() for name, each in self.network.named_parameters() if name in self._moving}

    def _cast(self, x: Tensor) -> Tensor:
        """Return numbers in the precision of the network."""
        return x.to(next(self.network.parameters()).dtype)

    def _outputs(self, weights: Weights, x: Tensor) -> Tensor:
        """Return the outputs that count, ``(n, m)``."""
        still = {name: p.detach() for name, p in self.network.named_parameters() if name not in weights}
        still |= {name: each.clone() for name, each in self.network.named_buffers()}  # it may change them
        found: Any = functional_call(self.network, (weights, still), (x.clone(),))  # it may work in place
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(x) or not found.shape[1]:
            came = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"the module must return a tensor of shape ({len(x)}, m) for {len(x)} rows, got {came}"
            )
        if self.output is None:
            return found
        if self.output >= found.shape[1]:
            raise InputError(f"output is {self.output}, but the module has only {found.shape[1]} outputs")
        return found[:, self.output, None]

    def _check(self, x: Tensor) -> _Size:
        """Raise `InputError` unless outputs are those of a row alone, and return how much they take."""
        rows = x.detach() if len(x) else x.new_zeros(1, x.shape[1])
        some = self._cast(rows[[0, len(rows) // 2, -1]])
        weights = {name: each.requires_grad_() for name, each in self._weights().items()}
        counts: list[int] = []

        def count(saved: Tensor) -> Tensor:
            counts[-1] += saved.numel()
            return saved

        def run(rows: Tensor) -> Tensor:
            counts.append(0)
            with _evaluation(x), torch.autograd.graph.saved_tensors_hooks(count, lambda saved: saved):
                return self._outputs(weights, rows)

        with torch.enable_grad():
            found = [run(rows) for rows in (some, some[:1], some[1:2], some[2:])]
        together, alone = found[0].detach(), torch.cat(found[1:]).detach()
        _check_finite(together)
        if not bool((together - alone).abs().max() <= ALIKE * together.abs().max()):
            raise InputError(
                "the outputs of a row change with the rows beside it, or by chance: expected a module that "
                "is a function of one row; scale columns by constants, and call .eval() on one in training"
            )
        numbers = sum(each.numel() for each in weights.values())
        return _Size(together.shape[1], numbers, max(0, counts[0] - counts[1]) // 2)


def _contracted(left: Weights, right: Weights, height: int) -> Tensor:
    """Return the products of the first rows of derivatives with those of others."""
    return sum((left[name][:height] @ right[name].mT for name in left), torch.zeros(()))


def _frozen_copy(module: Any) -> torch.nn.Module:
    """Return a copy in float64 that does not learn; raise `InputError` for what has no tangent kernel."""
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"module must be a torch.nn.Module, got {module!r}")
    for part in module.modules():
        chance = isinstance(part, _DropoutNd) and part.training and part.p > 0.0
        batch = isinstance(part, _BatchNorm) and (part.training or part.running_mean is None)
        if chance or batch:
            why = "the rows beside it" if batch else "chance"
            raise InputError(
                f"the module has a {type(part).__name__} by which the value of a row depends on {why}: call "
                "module.eval() first, and keep running statistics"
            )
    parameters = list(module.parameters())
    if any(isinstance(each, UninitializedParameter) for each in parameters):
        raise InputError("the module has lazy weights without a shape: call it on a row first")
    if not any(each.requires_grad for each in parameters):
        raise InputError(
            "the module has no weights that require gradients: expected some, such as those of a "
            "torch.nn.Linear; call module.requires_grad_(True) on one that was frozen"
        )
    if not all(each.is_floating_point() for each in parameters):
        raise InputError("the module has weights that are no real numbers: expected floating point")
    try:
        return copy.deepcopy(module).double().requires_grad_(False)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"the module cannot be copied: {error}") from error


@contextmanager
def _evaluation(x: Tensor) -> Iterator[None]:
    """Raise `InputError` for what a network does not take, or `torch.func` does not take of it.

    One thread at a time: a module lends its weights to the call that it is in.
    """
    try:
        with _one_at_a_time, sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            yield
    except InputError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"the module failed on rows of shape {tuple(x.shape)}: {error}; expected one that takes (n, d) "
            "and that torch.func can differentiate"
        ) from error


def _check_finite(*values: Tensor) -> None:
    if not all(bool(torch.isfinite(each).all()) for each in values):
        raise InputError(
            "the module or its derivatives are NaN or infinite in some rows: try smaller weights, or inputs "
            "of order 1"
        )
