"""Architectures of networks that are written in torch."""

from collections.abc import Callable, Iterable, Iterator

from torch import nn

from nonparam.errors import InputError
from nonparam.kernels.activations import ACTIVATIONS, leaky_relu
from nonparam.kernels.convolutions import AvgPool, Conv1d, Conv2d, GlobalAvgPool, Unflatten
from nonparam.kernels.layers import Apply, Dense, Flatten, Layer, LayerNorm
from nonparam.networks.architecture import Sequential

__all__ = ["from_torch"]

LARGEST_EPS = 1e-3  # that LayerNorm adds to variances of about 1


def from_torch(module: nn.Sequential) -> Sequential:
    """Return the architecture of a network that is written in torch.

    The kinds of layers are taken over, not their widths, nor their weights: variances start where the
    kernel's do. A network of images starts with ``nn.Unflatten``, since rows of a table are its inputs.

    Args:
        module: an ``nn.Sequential`` of layers that have infinitely wide limits: linear ones, convolutions,
            means over places, activations, norms of layers, flattening.

    Raises:
        InputError: a layer without a known limit, by its name, and what to do.

    Examples:
        >>> from_torch(nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 1)))
        Sequential(Dense(), Apply(relu), Dense())
    """
    if not isinstance(module, nn.Sequential) or type(module).forward is not nn.Sequential.forward:
        raise InputError(
            f"from_torch takes an nn.Sequential, got {type(module).__name__}: what other modules do with "
            "their layers is in their code; write their layers as nonparam.networks.Sequential(...)"
        )
    return Sequential(*_flattened_late(_lifted(module)))


def _flattened_late(found: Iterable[Layer]) -> list[Layer]:
    """Bring activations before a `Flatten`, which makes the same network: there each place has a variance."""
    layers: list[Layer] = []
    for layer in found:
        at = len(layers)
        while isinstance(layer, Apply) and at and isinstance(layers[at - 1], Flatten):
            at -= 1
        layers.insert(at, layer)
    return layers


def _modules(module: nn.Sequential, path: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers and where they are, one that stands in two places twice."""
    for name, each in module._modules.items():
        where = f"{path}{name}"
        if isinstance(each, nn.Sequential) and type(each).forward is nn.Sequential.forward:
            yield from _modules(each, f"{where}.")
        elif each is not None:
            yield where, each


def _lifted(module: nn.Sequential) -> Iterator[Layer]:
    before: nn.Module | None = None
    seen: set[int] = set()
    for where, each in _modules(module, ""):
        _check_own(where, each, seen)
        known = LAYERS.get(type(each))
        if known is None:
            raise InputError(
                f"layer {where}, {each}, has no infinitely wide limit that is known here; known are "
                f"{', '.join(sorted(kind.__name__ for kind in LAYERS))}"
            )
        try:
            if isinstance(each, nn.LayerNorm):
                _check_norm(each, before)
            found = known(each)
        except InputError as error:
            raise InputError(f"layer {where}, {each}: {error}") from error
        if found is not None:
            before = each
            yield found


def _check_own(where: str, module: nn.Module, seen: set[int]) -> None:
    """Raise `InputError` for weights that occur twice, and for a module whose forward pass is not its own."""
    if any(True for _ in module.parameters()) and id(module) in seen:
        raise InputError(
            f"layer {where}, {module}, occurs twice: its two uses share weights, and a limit of that is not "
            "known here; give each use a layer of its own"
        )
    seen.add(id(module))
    if module._forward_hooks or module._forward_pre_hooks or hasattr(module, "parametrizations"):
        raise InputError(
            f"layer {where}, {module}, has hooks or parametrizations, which change what it does: expected a "
            "plain layer"
        )


def _check_norm(module: nn.LayerNorm, before: nn.Module | None) -> None:
    """Raise `InputError` unless it norms the sums of a linear layer, whose mean vanishes as that grows."""
    units = before.out_features if isinstance(before, nn.Linear) else None
    if module.normalized_shape != (units,) or module.eps > LARGEST_EPS:
        raise InputError(
            "expected a norm of all units of a linear layer directly before it, with a small eps: torch "
            "subtracts the mean too, and only there does that vanish as layers grow wider"
        )


def _activation(name: str, setting: str = "", usual: object = None) -> Callable[[nn.Module], Layer]:
    """Return what takes over an activation, which may have a setting that must be the usual one."""

    def lift(module: nn.Module) -> Layer:
        if setting:
            _require(module, setting, usual)
        return Apply(ACTIVATIONS[name])

    return lift


def _require(module: nn.Module, setting: str, usual: object) -> None:
    if getattr(module, setting) != usual:
        raise InputError(f"expected {setting}={usual!r}, got {getattr(module, setting)!r}")


def _leaky(module: nn.Module) -> Layer:
    return Apply(leaky_relu(float(module.negative_slope)))  # type: ignore[arg-type]  # a number


def _linear(module: nn.Module) -> Layer:
    return Dense(bias=module.bias is not None)


def _convolution(module: nn.Module) -> Layer:
    assert isinstance(module, nn.Conv1d | nn.Conv2d)
    _require(module, "groups", 1)
    _require(module, "dilation", (1,) * len(module.dilation))
    kind = Conv1d if isinstance(module, nn.Conv1d) else Conv2d
    padding = 0 if module.padding == "valid" else module.padding
    return kind(
        _one(module.kernel_size),
        _one(module.stride),
        padding if isinstance(padding, str | int) else _one(padding),
        module.padding_mode,
        bias=module.bias is not None,
    )


def _mean(module: nn.Module) -> Layer:
    assert isinstance(module, nn.AvgPool1d | nn.AvgPool2d)
    _require(module, "ceil_mode", False)
    if getattr(module, "divisor_override", None) is not None:
        raise InputError(f"expected divisor_override=None, got {module.divisor_override!r}")
    if _one(module.padding) != 0:
        raise InputError(f"expected padding=0, got {module.padding!r}")
    return AvgPool(_one(module.kernel_size), _one(module.stride))


def _mean_of_all(module: nn.Module) -> Layer:
    if module.output_size not in (1, (1,), (1, 1)):
        raise InputError(f"expected output_size=1, got {module.output_size!r}")
    return GlobalAvgPool()


def _flatten(module: nn.Module) -> Layer:
    _require(module, "start_dim", 1)
    _require(module, "end_dim", -1)
    return Flatten()


def _unflatten(module: nn.Module) -> Layer:
    _require(module, "dim", 1)
    return Unflatten(*module.unflattened_size)  # type: ignore[misc]  # a tuple of numbers


def _norm(module: nn.Module) -> Layer:
    """Return a norm: at the start it neither scales nor shifts."""
    return LayerNorm()


def _softplus(module: nn.Module) -> Layer:
    _require(module, "beta", 1.0)
    _require(module, "threshold", 20.0)
    return Apply(ACTIVATIONS["softplus"])


def _nothing(module: nn.Module) -> None:
    return None


def _dropout(module: nn.Module) -> None:
    _require(module, "p", 0.0)


def _one(size: int | tuple[int, ...]) -> int:
    """Return the size of all sides."""
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise InputError(f"expected the same size along both sides, got {size!r}")
    return sides.pop()


LAYERS: dict[type[nn.Module], Callable[[nn.Module], Layer | None]] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.AvgPool1d: _mean,
    nn.AvgPool2d: _mean,
    nn.AdaptiveAvgPool1d: _mean_of_all,
    nn.AdaptiveAvgPool2d: _mean_of_all,
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    nn.LayerNorm: _norm,
    nn.Identity: _nothing,
    nn.Dropout: _dropout,
    nn.ReLU: _activation("relu"),
    nn.LeakyReLU: _leaky,
    nn.GELU: _activation("gelu", "approximate", "none"),
    nn.Tanh: _activation("tanh"),
    nn.Sigmoid: _activation("sigmoid"),
    nn.SiLU: _activation("silu"),
    nn.Softplus: _softplus,
    nn.ELU: _activation("elu", "alpha", 1.0),
}
