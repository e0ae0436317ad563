"""Kernels written as text: ``"linear + periodic(12) * rbf"``."""

import ast
import copy
import difflib
import inspect
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import gpytorch

from nonparam.errors import InputError
from nonparam.kernels.additive import Additive
from nonparam.kernels.base import Value
from nonparam.kernels.changepoint import ChangePoint
from nonparam.kernels.composition import Product, Scale, Sum, add, multiply
from nonparam.kernels.infinite import InfiniteNetwork
from nonparam.kernels.invariance import Invariant, SoftInvariant
from nonparam.kernels.linear import Constant, Linear, Polynomial, WhiteNoise
from nonparam.kernels.orthogonal import OrthogonalRBF
from nonparam.kernels.spectral import Spectral, spectral_mixture
from nonparam.kernels.stationary import RBF, Cosine, Matern, Periodic, RationalQuadratic
from nonparam.kernels.wiener import IntegratedWiener, Wiener

__all__ = ["NAMES", "as_kernel", "parse"]


def _matern(nu: float) -> Callable[..., Matern]:
    def make(
        lengthscale: Value = None,
        *,
        ard: bool = True,
        active_dims: Sequence[int] | None = None,
        fixed: Sequence[str] = (),
    ) -> Matern:
        return Matern(lengthscale, nu=nu, ard=ard, active_dims=active_dims, fixed=fixed)

    return make


NAMES: dict[str, Callable[..., gpytorch.kernels.Kernel]] = {
    "rbf": RBF,
    "matern12": _matern(0.5),
    "matern32": _matern(1.5),
    "matern52": _matern(2.5),
    "rq": RationalQuadratic,
    "periodic": Periodic,
    "cosine": Cosine,
    "spectral": Spectral,
    "spectral_mixture": spectral_mixture,
    "linear": Linear,
    "polynomial": Polynomial,
    "constant": Constant,
    "white": WhiteNoise,
    "wiener": Wiener,
    "integrated_wiener": IntegratedWiener,
    "changepoint": ChangePoint,
    "additive": Additive,
    "orthogonal_rbf": OrthogonalRBF,
    "infinite_network": InfiniteNetwork,
    "invariant": Invariant,
    "soft_invariant": SoftInvariant,
    "scale": Scale,
    "sum": Sum,
    "product": Product,
}

SKLEARN_NAMES = {
    "RBF": "rbf",
    "RationalQuadratic": "rq",
    "ExpSineSquared": "periodic",
    "DotProduct": "(constant + linear(center=0))",
    "ConstantKernel": "constant",
    "WhiteKernel": "white",
}


def as_kernel(value: Any) -> gpytorch.kernels.Kernel:
    """Return the kernel that a formula means, or a copy of a kernel.

    Args:
        value: a formula, a kernel of ours or of GPyTorch.

    Returns:
        The kernel, which no other model holds.

    Raises:
        InputError: a class, a kernel of scikit-learn, or anything else; the message says what to write.

    Examples:
        >>> as_kernel("linear + rbf")
        linear + rbf
    """
    if isinstance(value, str):
        return parse(value)
    if isinstance(value, gpytorch.kernels.Kernel):
        return copy.deepcopy(value)
    kind = value if isinstance(value, type) else type(value)
    if kind.__module__.startswith("sklearn.gaussian_process"):
        raise InputError(f"kernel must be a formula or a kernel, got scikit-learn's {_sklearn_advice(value)}")
    if isinstance(value, type) and issubclass(value, gpytorch.kernels.Kernel):
        name = value.__name__
        raise InputError(f"kernel must be an instance, got the class {name}: call it, as in {name}()")
    raise InputError(
        f"kernel must be a formula or a kernel, got {value!r}: try 'matern52' or 'linear + periodic(12)'"
    )


def _sklearn_advice(kernel: Any) -> str:
    shown = kernel.__name__ if isinstance(kernel, type) else repr(kernel)
    try:
        return f"{shown}: write kernel={_sklearn_formula(kernel)!r}"
    except (AttributeError, KeyError):  # a class of composites, or a name that is not in the table
        return f"{shown}, which has no equal here: write a formula of {sorted(NAMES)}"


def _sklearn_formula(kernel: Any) -> str:
    """Return our formula for a kernel of scikit-learn; all numbers but the period are left to the data."""
    name = kernel.__name__ if isinstance(kernel, type) else type(kernel).__name__
    match name:
        case "Sum":
            return f"{_sklearn_formula(kernel.k1)} + {_sklearn_formula(kernel.k2)}"
        case "Product":
            factors = (kernel.k1, kernel.k2)
            return " * ".join(
                f"({_sklearn_formula(f)})" if type(f).__name__ == "Sum" else _sklearn_formula(f)
                for f in factors
            )
        case "Matern":
            nu = getattr(kernel, "nu", 2.5)
            return {0.5: "matern12", 1.5: "matern32", 2.5: "matern52", float("inf"): "rbf"}[nu]
        case "ExpSineSquared" if hasattr(kernel, "periodicity"):
            return f"periodic({kernel.periodicity:g})"
        case _:
            return SKLEARN_NAMES[name]


def parse(text: str) -> gpytorch.kernels.Kernel:
    """Read a kernel from its formula; what `repr` of a kernel writes can be read back.

    Args:
        text: names from `NAMES`, with arguments in brackets where wanted, joined by ``+`` and ``*``; a
            number times a kernel is its outputscale, a number added a constant kernel.

    Returns:
        The kernel.

    Raises:
        InputError: a formula that cannot be read; the message says where, and what was expected.

    Examples:
        >>> parse("linear + 2.0 * periodic(12) * rbf(lengthscale=[1, 5])")
        linear + 2 * periodic(period=12) * rbf(lengthscale=[1, 5])
    """
    if not isinstance(text, str):
        raise InputError(f"a kernel's formula must be text, such as 'linear + rbf', got {text!r}")
    try:
        kernel = _build(ast.parse(text.strip(), mode="eval").body, text)
    except SyntaxError as error:
        place = f"near column {error.offset}" if error.offset else "to its end"
        raise InputError(
            f"kernel {text!r} cannot be read {place}: expected names joined by + and *, "
            "such as 'linear + periodic(12) * rbf'"
        ) from error
    except (RecursionError, MemoryError) as error:
        raise InputError(f"kernel {text[:40]!r}... is too long or nested too deeply") from error
    if not isinstance(kernel, gpytorch.kernels.Kernel):
        raise InputError(f"kernel {text!r} is {kernel!r}: expected at least one of {sorted(NAMES)}")
    return kernel


def _build(node: ast.expr, text: str) -> Any:
    match node:
        case ast.BinOp(left, ast.Add() | ast.Mult() as join, right):
            return _join(join, _build(left, text), _build(right, text))
        case ast.Name(name):
            return _call(name, [], [], text)
        case ast.Call(ast.Name(name), arguments, keywords):
            return _call(name, arguments, keywords, text)
        case _:
            return _literal(node, text)


def _join(join: ast.Add | ast.Mult, left: Any, right: Any) -> Any:
    numbers = isinstance(left, Real) and isinstance(right, Real)
    if isinstance(join, ast.Add):
        return left + right if numbers else add(left, right)
    return left * right if numbers else multiply(left, right)


def _call(name: str, arguments: list[ast.expr], keywords: list[ast.keyword], text: str) -> Any:
    make = _lookup(name, text)
    positional = [_build(argument, text) for argument in arguments]
    named = {keyword.arg or "**": _build(keyword.value, text) for keyword in keywords}
    if len(named) < len(keywords):
        raise InputError(f"kernel {text!r}: {name} is given an argument twice")
    signature = inspect.signature(make)
    try:
        signature.bind(*positional, **named)  # whose complaints name no method of ours
        return make(*positional, **named)
    except TypeError as error:
        raise InputError(
            f"kernel {text!r}: {name} does not take these arguments ({error}); "
            f"it takes {', '.join(signature.parameters)}"
        ) from error


def _lookup(name: str, text: str) -> Callable[..., gpytorch.kernels.Kernel]:
    if name in NAMES:
        return NAMES[name]
    close = _similar(name)
    hint = f"; did you mean {close!r}?" if close else ""
    raise InputError(f"kernel {text!r}: no kernel is called {name!r}{hint} (there are {sorted(NAMES)})")


def _similar(name: str) -> str | None:
    """Return the name meant by one in capitals, of a class, or with a slip."""
    if name in SKLEARN_NAMES:
        return SKLEARN_NAMES[name]
    close = difflib.get_close_matches(name.lower().removesuffix("kernel"), NAMES, n=1)
    return close[0] if close else None


def _literal(node: ast.expr, text: str) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError) as error:
        part = ast.unparse(node)
        raise InputError(
            f"kernel {text!r}: cannot read {part!r}; expected a name, a number, + or *"
        ) from error
