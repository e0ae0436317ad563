"""The base class of the covariance functions, and the declaration of their hyperparameters."""

import copy
import inspect
import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, Self, cast

import gpytorch
import torch
from torch import Tensor

from nonparam.errors import InputError

__all__ = ["Composable", "Hyperparameter", "Kernel", "Unit", "Value"]

MOST_COLUMNS = 2**31  # beyond any table

Value = float | Sequence[float] | None
Unit = Literal["1", "X", "1/X", "y^2", "y^2/X", "y^2/X^2", "y^2/X^3"]


class Hyperparameter:
    """A named number, or one per column of ``X``, that a kernel learns.

    Declared in the body of a kernel; reading it gives the value as a tensor that gradients flow through.
    A positive one is stored as its logarithm ``raw_NAME``, so that steps of an optimiser are relative.

    Args:
        unit: what it is measured in; tells an estimator how to choose a start from the data.
        per_column: one value for each active column (automatic relevance determination).
        per_degree: one value for each ``degree`` of the kernel.
        per_layer: one value for each layer of a network.
        alone: whether a column's value belongs to a function of that column alone, not of all together.
        positive: whether the logarithm is stored.
        learnt: whether training may move it; one that is not is set from the data once.
    """

    def __init__(
        self,
        unit: Unit,
        *,
        per_column: bool = False,
        per_degree: bool = False,
        per_layer: bool = False,
        alone: bool = False,
        positive: bool = True,
        learnt: bool = True,
    ) -> None:
        self.unit = unit
        self.per_column = per_column
        self.per_degree = per_degree
        self.per_layer = per_layer
        self.alone = alone
        self.positive = positive
        self.learnt = learnt

    def __set_name__(self, owner: type, name: str) -> None:
        """Remember the name under which the class body declares it."""
        self.name = name
        self.raw_name = f"raw_{name}"

    def __get__(self, kernel: Any, owner: type | None = None) -> Any:
        """Return the value, of shape ``(*batch,)``, or ``(*batch, 1, d)`` for several."""
        if kernel is None:
            return self
        raw = kernel._parameters[self.raw_name]
        return raw.exp() if self.positive else raw

    def __set__(self, kernel: Any, value: Value | Tensor) -> None:
        """Store a value given in the user's units; ``None`` leaves it to the data."""
        kernel._assign(self, value)

    @property
    def listed(self) -> bool:
        """Whether it may have several values."""
        return self.per_column or self.per_degree or self.per_layer

    def to_raw(self, owner: str, value: Value | Tensor) -> Tensor:
        """Return the stored form of ``value``; raise `InputError` where it has none."""
        try:
            if isinstance(value, bool):
                raise TypeError("True and False are no numbers")
            number = torch.as_tensor(value, dtype=torch.float64).detach().clone()
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise InputError(f"{owner}: {self.name} must be a number, got {value!r}") from error
        plain = isinstance(value, Tensor) or number.ndim <= int(self.listed)  # only a tensor has a batch
        if number.numel() == 0 or not plain:
            several = "column" if self.per_column else "degree" if self.per_degree else "layer"
            shape = f"a number, or one for each {several}" if self.listed else "one number"
            raise InputError(f"{owner}: {self.name} must be {shape}, got {value!r}")
        if not bool(torch.isfinite(number).all()) or (self.positive and bool((number <= 0).any())):
            kind = "positive and finite" if self.positive else "finite"
            raise InputError(f"{owner}: {self.name} must be {kind}, got {value!r}")
        raw = number.log() if self.positive else number
        if self.listed:
            return raw.reshape(1, -1) if raw.ndim < 2 else raw
        return raw.squeeze()


class Composable:
    """What is written with ``+`` and ``*``, and has a formula of its own."""

    keyword: ClassVar[str] = ""

    def __add__(self, other: Any) -> "Kernel":
        """Return the sum; a number stands for a constant kernel."""
        from nonparam.kernels.composition import add

        return add(self, other)

    def __radd__(self, other: Any) -> "Kernel":
        """Return the sum, written with this kernel on the right."""
        from nonparam.kernels.composition import add

        return add(other, self)

    def __mul__(self, other: Any) -> "Kernel":
        """Return the product; a number becomes an outputscale."""
        from nonparam.kernels.composition import multiply

        return multiply(self, other)

    def __rmul__(self, other: Any) -> "Kernel":
        """Return the product, written with this kernel on the right."""
        from nonparam.kernels.composition import multiply

        return multiply(other, self)


class Kernel(Composable, gpytorch.kernels.Kernel):  # type: ignore[misc]  # gpytorch is untyped
    """A covariance function: a GPyTorch kernel with scikit-learn's parameters, and a formula for a name.

    A subclass declares its `Hyperparameter` fields and implements `matrix` and `diagonal`.
    ``None`` for a hyperparameter means that `fit` chooses where to start, from the data.

    Args:
        values: a value, or ``None``, for each declared hyperparameter.
        active_dims: the columns of ``X`` it looks at; all of them by default.
        fixed: names of hyperparameters that are not learnt.

    Raises:
        InputError: a value that is not positive and finite, ``active_dims`` that are no column numbers, or
            a name in ``fixed`` that does not exist.
    """

    options: ClassVar[dict[str, Any]] = {}
    _declared: ClassVar[tuple[Hyperparameter, ...]] = ()

    def __init__(
        self,
        values: dict[str, Value],
        active_dims: Sequence[int] | None = None,
        fixed: Sequence[str] = (),
    ) -> None:
        super().__init__(active_dims=self._columns(active_dims))
        self.unset: frozenset[str] = frozenset()
        self.fixed = self._known(fixed)
        for declared in self.declared():
            shape = (1, 1) if declared.listed else ()
            self.register_parameter(
                declared.raw_name, torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64))
            )
            if declared.positive:
                constraint = gpytorch.constraints.Positive(torch.exp, torch.log)
                self.register_constraint(declared.raw_name, constraint)
            self._assign(declared, values[declared.name])
        self._freeze()

    @classmethod
    def _columns(cls, active_dims: Sequence[int] | None) -> tuple[int, ...] | None:
        if active_dims is None:
            return None
        try:
            columns = tuple(operator.index(column) for column in active_dims if not isinstance(column, bool))
            usable = len(columns) == len(set(columns)) == len(active_dims) > 0
        except TypeError:
            usable = False
        if not usable or not 0 <= min(columns) <= max(columns) < MOST_COLUMNS:
            raise InputError(
                f"{cls.__name__}: active_dims must be different column numbers from 0, such as (0, 2), "
                f"got {active_dims!r}"
            )
        return columns

    def __init_subclass__(cls) -> None:
        """Gather the hyperparameters that the class and its parents declare, once."""
        super().__init_subclass__()
        fields = [vars(base).values() for base in reversed(cls.__mro__)]
        cls._declared = tuple(f for group in fields for f in group if isinstance(f, Hyperparameter))

    @classmethod
    def declared(cls) -> tuple[Hyperparameter, ...]:
        """Return the hyperparameters that the class declares, in order."""
        return cls._declared

    def _assign(self, declared: Hyperparameter, value: Value | Tensor) -> None:
        if value is None:
            self.unset = self.unset | {declared.name}
            return
        raw = declared.to_raw(type(self).__name__, value)
        old = self._parameters[declared.raw_name]
        self._parameters[declared.raw_name] = torch.nn.Parameter(
            raw.to(old), requires_grad=self._is_learnt(declared)
        )
        self.unset = self.unset - {declared.name}

    @classmethod
    def _known(cls, fixed: Sequence[str]) -> tuple[str, ...]:
        names = sorted(declared.name for declared in cls.declared())
        listed = isinstance(fixed, list | tuple | set | frozenset)
        if not listed or any(name not in names for name in fixed):
            example = f"({names[0]!r},)" if names else "()"
            raise InputError(
                f"{cls.__name__}: fixed must list some of its hyperparameters {names}, such as {example}; "
                f"got {fixed!r}"
            )
        return tuple(fixed)

    def _freeze(self) -> None:
        for declared in self.declared():
            self._parameters[declared.raw_name].requires_grad_(self._is_learnt(declared))

    def _is_learnt(self, declared: Hyperparameter) -> bool:
        return declared.learnt and declared.name not in self.fixed

    def check_columns(self, columns: int) -> None:
        """Raise `InputError` unless hyperparameters with a value per column fit ``columns`` of ``X``."""
        for declared in self.declared():
            given = self._parameters[declared.raw_name].shape[-1] if declared.per_column else 1
            if given not in (1, columns):
                raise InputError(
                    f"{type(self).__name__}: {declared.name} has {given} values, but X has {columns} columns "
                    "to look at; give one value, or one for each column"
                )

    def own_columns(self, columns: int) -> Sequence[int]:
        """Return which of the ``columns`` that it sees its own hyperparameters are about."""
        return range(columns)

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the covariance of the rows of ``x1`` with those of ``x2``.

        Args:
            x1: ``(n, d)``, the active columns.
            x2: ``(m, d)``, or ``None`` for the same observations as ``x1``.

        Returns:
            ``(*batch, n, m)``.
        """
        raise NotImplementedError(f"{type(self).__name__} implements no matrix")

    def diagonal(self, x: Tensor) -> Tensor:
        """Return the variance at each row of ``x``: ``(*batch, n)``."""
        raise NotImplementedError(f"{type(self).__name__} implements no diagonal")

    def forward(
        self,
        x1: Tensor,
        x2: Tensor,
        diag: bool = False,
        last_dim_is_batch: bool = False,
        **params: Any,
    ) -> Tensor:
        """Evaluate for GPyTorch, whose models call it; the package itself calls `covariance`."""
        if last_dim_is_batch:
            raise InputError("last_dim_is_batch is not supported: write a sum over active_dims instead")
        self.check_columns(x1.shape[-1])
        same = x1 is x2 or torch.equal(x1, x2)
        if diag and same:
            return self.diagonal(x1)
        matrix = self.matrix(x1, None if same else x2)
        return matrix.diagonal(dim1=-2, dim2=-1) if diag else matrix

    @property
    def is_stationary(self) -> bool:
        """Whether it depends on the difference of its inputs only."""
        return False

    @property
    def has_amplitude(self) -> bool:
        """Whether it carries a variance of its own."""
        return any(declared.unit.startswith("y^2") for declared in self.declared())

    def components(self) -> dict[str, "gpytorch.kernels.Kernel"]:
        """Return the kernels that it is made of, by the names that nested parameters use."""
        return {}

    def terms(self) -> Sequence["gpytorch.kernels.Kernel"]:
        """Return the kernels that it is the sum of: itself, where it is no sum."""
        return (self,)

    def parts(self, columns: int) -> Sequence["gpytorch.kernels.Kernel"]:
        """Return the finest kernels that it is known to be the sum of, where it is given ``columns``.

        It must stand at one value of its hyperparameters. Each part is given the same columns.
        """
        return (self,)

    # scikit-learn's protocol -----------------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments, and with ``deep`` those of the components too."""
        params: dict[str, Any] = {f.name: self.value(f.name) for f in self.declared()}
        params |= {name: getattr(self, name) for name in self.options}
        accepted = inspect.signature(type(self)).parameters
        if "active_dims" in accepted:
            active = self.active_dims
            params["active_dims"] = None if active is None else tuple(active.tolist())
        if "fixed" in accepted:
            params["fixed"] = self.fixed
        for name, part in self.components().items():
            params[name] = part
            if deep and isinstance(part, Kernel):
                params |= {f"{name}__{key}": value for key, value in part.get_params().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set arguments by name; ``component__name`` reaches into a component."""
        known = self.get_params(deep=True)
        for key, value in params.items():
            if key not in known:
                raise InputError(f"{type(self).__name__} has no parameter {key!r}; it has {sorted(known)}")
            self._set_param(key, value)
        return self

    def _set_param(self, key: str, value: Any) -> None:
        head, _, tail = key.partition("__")
        if tail:
            cast(Kernel, self.components()[head]).set_params(**{tail: value})
        elif head == "fixed":
            self.fixed = self._known(value)
            self._freeze()
        elif head == "active_dims":
            columns = self._columns(value)
            self.active_dims = None if columns is None else torch.tensor(columns, dtype=torch.long)
        elif head in self.components():
            raise InputError(f"build a new {type(self).__name__} to exchange its component {head!r}")
        else:
            setattr(self, head, value)

    def value(self, name: str) -> float | list[float] | None:
        """Return a hyperparameter as a number or a list of numbers, ``None`` while it is unset."""
        if name in self.unset:
            return None
        value = getattr(self, name).detach().reshape(-1).tolist()
        numbers: list[float] = value
        return numbers[0] if len(numbers) == 1 else numbers

    def __sklearn_clone__(self) -> Self:
        """Return an independent copy with the same values."""
        return copy.deepcopy(self)

    # the formula -----------------------------------------------------------------------------

    def arguments(self) -> Iterator[tuple[str, Any]]:
        """Yield the arguments that the formula shows."""
        for name, default in self.options.items():
            if getattr(self, name) != default:
                yield name, getattr(self, name)
        for declared in self.declared():
            value = self.value(declared.name)
            if value is not None:
                yield declared.name, value
        if self.active_dims is not None:
            yield "active_dims", tuple(self.active_dims.tolist())
        if self.fixed:
            yield "fixed", self.fixed

    def __repr__(self) -> str:
        """Return the formula with its present values; `parse` reads it back."""
        arguments = ", ".join(f"{name}={show(value)}" for name, value in self.arguments())
        return f"{self.keyword}({arguments})" if arguments else self.keyword

    def __str__(self) -> str:
        """Return the formula."""
        return repr(self)


def show(value: Any) -> str:
    """Write a number with four to six significant digits, and anything else as Python does."""
    if isinstance(value, float):
        digits = 6 if abs(value) >= 1000.0 else 4  # a year keeps its fraction
        return f"{value:.{digits}g}" if math.isfinite(value) else repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(show(item) for item in value) + "]"
    return repr(value)


def formula(kernel: gpytorch.kernels.Kernel) -> str:
    """Write any kernel in a line: ours as its formula, GPyTorch's with the values it holds.

    Examples:
        >>> formula(gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel()))
        'ScaleKernel(RBFKernel(lengthscale=0.6931), outputscale=0.6931)'
    """
    if isinstance(kernel, Composable):
        return repr(kernel)
    parts = [formula(part) for part in kernel.children() if isinstance(part, gpytorch.kernels.Kernel)]
    parts += [formula(part) for group in kernel.children() for part in _kernels_in(group)]
    for name, raw in kernel.named_parameters(recurse=False):
        constraint = kernel.constraint_for_parameter_name(name)
        value = (raw if constraint is None else constraint.transform(raw)).detach().reshape(-1).tolist()
        parts.append(f"{name.removeprefix('raw_')}={show(value[0] if len(value) == 1 else value)}")
    return f"{type(kernel).__name__}({', '.join(parts)})"


def _kernels_in(group: torch.nn.Module) -> list[gpytorch.kernels.Kernel]:
    return list(group) if isinstance(group, torch.nn.ModuleList) else []
