"""Architectures from text: what they print as can be read back, and is what files hold."""

import ast
from collections.abc import Callable
from typing import Any

from nonparam.errors import InputError
from nonparam.kernels.activations import FACTORIES
from nonparam.kernels.convolutions import AvgPool, Conv1d, Conv2d, GlobalAvgPool, Unflatten
from nonparam.kernels.layers import (
    NAME,
    Apply,
    Dense,
    Flatten,
    Layer,
    LayerNorm,
    Product,
    Residual,
    Sequential,
    as_activation,
    mlp,
)

__all__ = ["parse_architecture"]

LAYERS: dict[str, Callable[..., Layer]] = {
    kind.__name__: kind
    for kind in (
        *(Apply, AvgPool, Conv1d, Conv2d, Dense, Flatten, GlobalAvgPool, LayerNorm),
        *(Product, Residual, Sequential, Unflatten),
    )
}


def parse_architecture(text: str) -> Sequential:
    """Read an architecture: an activation and a depth, or layers as they print.

    Args:
        text: such as ``"relu-3"``, or ``"Sequential(Dense(), Apply(leaky_relu(0.1)), Dense())"``.

    Raises:
        InputError: text that cannot be read; the message says what was expected.

    Examples:
        >>> parse_architecture("erf-1")
        Sequential(Dense(), Apply(erf), Dense())
        >>> parse_architecture("Sequential(Unflatten(1, 8, 8), Conv2d(3), Apply(relu), Flatten(), Dense())")
        Sequential(Unflatten(1, 8, 8), Conv2d(kernel_size=3), Apply(relu), Flatten(), Dense())
    """
    known = NAME.fullmatch(text)
    if known is not None:
        return mlp(known[1], int(known[2]))
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        found = _read(tree) if isinstance(tree, ast.Call) else None
    except (SyntaxError, RecursionError, MemoryError):
        found = None
    if not isinstance(found, Sequential):
        raise InputError(
            "architecture must be an activation and the number of hidden layers, such as 'relu-3', or layers "
            f"as they print, such as 'Sequential(Dense(), Apply(relu), Dense())', got {text!r}"
        )
    return found


def _read(node: ast.expr) -> Any:
    """Return a layer, an activation, a number or a text."""
    match node:
        case ast.Call(ast.Name(name), arguments, keywords) if name in {**LAYERS, **FACTORIES}:
            make: Callable[..., Any] = LAYERS.get(name) or FACTORIES[name]
            values = [_read(each) for each in arguments]
            named = {each.arg: _read(each.value) for each in keywords if each.arg is not None}
            try:
                return make(*values, **named)
            except TypeError as error:
                raise InputError(f"{ast.unparse(node)} cannot be read: {error}") from error
        case ast.Name(name):
            return as_activation(name)
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise InputError(
            f"{ast.unparse(node)!r} is no layer, no activation and no number: layers are {sorted(LAYERS)}"
        ) from error
