r"""Values and kernels as JSON with named tensors, and back, without running code that a file names."""

import copy
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import gpytorch
import numpy as np
import torch
from numpy.random import MT19937, PCG64, PCG64DXSM, SFC64, Philox
from numpy.typing import NDArray
from torch import Tensor

from nonparam import kernels
from nonparam.deep_features import ResidualFeatures
from nonparam.errors import FileFormatError, InputError
from nonparam.kernels.architectures import parse_architecture
from nonparam.kernels.base import Kernel
from nonparam.kernels.composition import Product, Sum
from nonparam.kernels.deep import DeepKernel
from nonparam.kernels.layers import Sequential
from nonparam.likelihoods.base import ResponseLikelihood
from nonparam.likelihoods.registry import NAMED

__all__ = ["Json", "Packer", "Unpacker"]

Json = Any

OURS = {k.__name__: k for k in vars(kernels).values() if isinstance(k, type) and issubclass(k, Kernel)}
BIT_GENERATORS = {g.__name__: g for g in (MT19937, PCG64, PCG64DXSM, Philox, SFC64)}


class Packer:
    """Turns values into JSON, and their arrays into tensors with names.

    A kernel of `nonparam.kernels` becomes its class, its arguments and its components, one of features that
    `DeepKernelRegressor` learnt the widths of its layers and its weights. Any other kernel becomes only its
    class and its tensors, since it could not be rebuilt without running what a file says.

    Attributes:
        tensors: what was met so far, by name.

    Examples:
        >>> packer = Packer()
        >>> packer.pack({"noise": np.ones(3), "seed": 1}, "model")
        {'dict': {'noise': {'array': 'model.noise'}, 'seed': 1}}
        >>> Unpacker(packer.tensors).unpack({"array": "model.noise"})
        array([1., 1., 1.])
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._seen: dict[int, str] = {}

    def pack(self, value: Any, name: str) -> Json:
        """Return JSON for a value.

        Args:
            value: ``None``, a number, text, a path (which comes back as text), an array or tensor of numbers,
                a kernel, a likelihood, an architecture, a ``RandomState``, or a list, tuple or dictionary of
                such.
            name: the beginning of the names of its tensors.

        Raises:
            InputError: a value of another kind, such as a function.
        """
        match value:
            case None | bool() | int() | str():
                return value
            case float():
                return float(value) if math.isfinite(value) else {"float": repr(float(value))}
            case os.PathLike():
                return os.fspath(value)
            case list():
                return [self.pack(item, f"{name}.{i}") for i, item in enumerate(value)]
            case tuple():
                return {"tuple": self.pack(list(value), name)}
            case dict() if all(isinstance(key, str) for key in value):
                return {"dict": {key: self.pack(item, f"{name}.{key}") for key, item in value.items()}}
            case dict():
                return {"pairs": self.pack(list(value.items()), name)}
            case np.random.RandomState():
                return {"random_state": self.pack(value.get_state(legacy=False), name)}
            case np.generic():
                return self.pack(value.item(), name)
            case gpytorch.kernels.Kernel():
                return {"kernel": self._kernel(value, name)}
            case Sequential():
                return {"architecture": _text(value, name)}
            case ResponseLikelihood():
                return {"likelihood": self._likelihood(value, name)}
        return {"array": self._array(value, name)}

    def _array(self, value: Any, name: str) -> str:
        if callable(value):
            raise InputError(
                f"cannot save {name}={value!r}: files hold no code; pickle the model instead, with functions "
                "and classes that a module of yours defines by name"
            )
        try:
            array = value.detach() if isinstance(value, Tensor) else torch.from_numpy(_native(value))
        except (AttributeError, TypeError) as error:
            raise InputError(
                f"cannot save {name}={value!r}: expected a number, text, a list or an array of numbers, or a "
                "kernel"
            ) from error
        self.tensors[name] = array
        return name

    def _likelihood(self, likelihood: ResponseLikelihood, name: str) -> Json:
        if NAMED.get(getattr(likelihood, "keyword", "")) is not type(likelihood):
            raise InputError(
                f"cannot save {name}={likelihood!r}: files hold no code, and a likelihood of your own is "
                "code; pickle the model instead, with classes that can be imported"
            )
        self.tensors |= {f"{name}.{key}": value for key, value in likelihood.state_dict().items()}
        arguments = self.pack(likelihood.arguments(), name)
        return {"name": name, "keyword": likelihood.keyword, "arguments": arguments}

    def _kernel(self, kernel: gpytorch.kernels.Kernel, name: str) -> Json:
        if id(kernel) in self._seen:  # one kernel used twice has one set of hyperparameters
            return {"shared": self._seen[id(kernel)]}
        self._seen[id(kernel)] = name
        frozen = [key for key, value in kernel.named_parameters() if not value.requires_grad]
        if _is_learnt(kernel):
            features, base = kernel.feature_extractor, kernel.base_kernel
            self.tensors |= {f"{name}.features.{key}": value for key, value in features.state_dict().items()}
            packed = self._kernel(base, f"{name}.base")
            return {"name": name, "learnt": features.hidden, "base": packed, "frozen": frozen}
        if not _is_ours(kernel):
            self.tensors |= {f"{name}.{key}": value for key, value in kernel.state_dict().items()}
            return {"name": name, "foreign": _class_name(kernel), "unset": _unset(kernel), "frozen": frozen}
        names = {declared.name: declared.raw_name for declared in kernel.declared()}
        self.tensors |= {f"{name}.{raw}": getattr(kernel, raw) for raw in names.values()}
        parts = kernel.components()
        rest = {k: v for k, v in kernel.get_params(deep=False).items() if k not in names and k not in parts}
        return {
            "name": name,
            "class": type(kernel).__name__,
            "arguments": {key: self.pack(value, f"{name}.{key}") for key, value in rest.items()},
            "unset": sorted(kernel.unset),
            "frozen": [key for key in frozen if key in names.values()],
            "components": {key: self._kernel(part, f"{name}.{key}") for key, part in parts.items()},
        }


def _text(layers: Sequential, name: str) -> str:
    """Return layers as text that can be read back; raise `InputError` where a function has none."""
    text = repr(layers)
    try:
        parse_architecture(text)
    except InputError as error:
        raise InputError(
            f"cannot save {name}={text}: files hold no code, and an activation of your own is code; pickle "
            "the model instead, with functions that can be imported"
        ) from error
    return text


class Unpacker:
    """Turns what a `Packer` made back into values.

    Args:
        tensors: as `read_file` returned them.
        template: a kernel built as the saved one was; its GPyTorch parts receive the saved values. It is not
            changed.

    Examples:
        >>> packer = Packer()
        >>> packed = packer.pack(kernels.RBF(0.5) + kernels.Linear(2.0), "kernel")
        >>> Unpacker(packer.tensors).unpack(packed)
        rbf(lengthscale=0.5) + linear(variance=2)
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], template: gpytorch.kernels.Kernel | None = None
    ) -> None:
        if template is not None and not isinstance(template, gpytorch.kernels.Kernel):
            raise InputError(f"kernel must be a kernel, built as the saved one was; got {template!r}")
        self.tensors = tensors
        self._template = template
        self._parts: Iterator[gpytorch.kernels.Kernel] = iter(())
        self._built: dict[str, gpytorch.kernels.Kernel] = {}

    def unpack(self, packed: Json) -> Any:
        """Return the value.

        Args:
            packed: what `Packer.pack` returned.

        Raises:
            InputError: a kernel that is not ours, and no template that it matches.
            FileFormatError: a kernel that this version does not know.
        """
        match packed:
            case list():
                return [self.unpack(item) for item in packed]
            case {"float": text}:
                return float(text)
            case {"architecture": text}:
                return parse_architecture(text)
            case {"likelihood": description}:
                return self._likelihood(description)
            case {"tuple": items}:
                return tuple(self.unpack(items))
            case {"dict": items}:
                return {key: self.unpack(item) for key, item in items.items()}
            case {"pairs": items}:
                return dict(self.unpack(items))
            case {"array": name}:
                return self.tensors[name].numpy()
            case {"random_state": packed_state}:
                return _random_state(self.unpack(packed_state))
            case {"kernel": description}:
                self._parts = iter(() if self._template is None else _foreign_parts(self._template))
                return self._kernel(description)
        return packed

    def _likelihood(self, description: Json) -> ResponseLikelihood:
        kind: Any = NAMED.get(description["keyword"])
        if kind is None:
            raise FileFormatError(
                f"the file has a likelihood {description['keyword']!r}, and this version knows "
                f"{sorted(NAMED)}: use the nonparam that wrote it"
            )
        built: ResponseLikelihood = kind(**self.unpack(description["arguments"]))
        prefix = f"{description['name']}."
        state = {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}
        built.load_state_dict(state)
        return built

    def _kernel(self, description: Json) -> gpytorch.kernels.Kernel:
        if "shared" in description:
            return self._built[description["shared"]]
        if "learnt" in description:
            built = self._learnt(description)
        else:
            built = self._foreign(description) if "foreign" in description else self._ours(description)
        for key, parameter in built.named_parameters():
            if key in description["frozen"]:
                parameter.requires_grad_(False)
        self._built[description["name"]] = built
        return built

    def _ours(self, description: Json) -> gpytorch.kernels.Kernel:
        kind = OURS.get(description["class"])
        if kind is None:
            raise FileFormatError(
                f"the file has a kernel {description['class']!r}, and this version knows {sorted(OURS)}: "
                "use the nonparam that wrote it"
            )
        name = description["name"]
        parts = {key: self._kernel(part) for key, part in description["components"].items()}
        arguments = {key: self.unpack(value) for key, value in description["arguments"].items()}
        make: Any = kind
        built = make(*parts.values(), **arguments) if kind in (Sum, Product) else make(**parts, **arguments)
        for declared in built.declared():
            _store(built, declared.raw_name, self.tensors[f"{name}.{declared.raw_name}"])
        built.unset = frozenset(description["unset"])
        return cast(Kernel, built)

    def _learnt(self, description: Json) -> gpytorch.kernels.Kernel:
        prefix = f"{description['name']}.features."
        state = {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}
        rows = state["centre"].new_zeros(1, len(state["centre"]))
        features = ResidualFeatures(rows, description["learnt"], rows[0], torch.Generator())
        features.load_state_dict(state, assign=True)
        return DeepKernel(features, self._kernel(description["base"]))

    def _foreign(self, description: Json) -> gpytorch.kernels.Kernel:
        prefix = f"{description['name']}."
        state = {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}
        part = next(self._parts, None)
        if part is None or _class_name(part) != description["foreign"]:
            came = "none was given" if part is None else f"the given one has {_class_name(part)} there"
            raise InputError(
                f"the saved kernel contains {description['foreign']}, which only your code can build, and "
                f"{came}: call load(path, kernel=...) with a kernel built as before; its values are read "
                "from the file"
            )
        dtype = next((value.dtype for value in state.values() if value.is_floating_point()), torch.float64)
        built = copy.deepcopy(part).to("cpu", dtype)
        for path, module in built.named_modules():
            if isinstance(module, Kernel):  # ours take their shapes from the data
                module.unset = frozenset(description["unset"].get(path, ()))
                _adopt(module, path, state)
        _check_state(description["foreign"], built.state_dict(), state)
        built.load_state_dict(state, assign=True)
        return built


def _native(value: Any) -> NDArray[Any]:
    array = np.array(value)
    return array.astype(array.dtype.newbyteorder("="))


def _random_state(state: dict[str, Any]) -> np.random.RandomState:
    generator = np.random.RandomState(BIT_GENERATORS[state["bit_generator"]]())
    generator.set_state(state)
    return generator


def _is_ours(kernel: gpytorch.kernels.Kernel) -> bool:
    return OURS.get(type(kernel).__name__) is type(kernel)


def _is_learnt(kernel: gpytorch.kernels.Kernel) -> bool:
    return isinstance(kernel, DeepKernel) and isinstance(kernel.feature_extractor, ResidualFeatures)


def _class_name(kernel: gpytorch.kernels.Kernel) -> str:
    return f"{type(kernel).__module__}.{type(kernel).__qualname__}"


def _unset(kernel: gpytorch.kernels.Kernel) -> dict[str, list[str]]:
    return {path: sorted(k.unset) for path, k in kernel.named_modules() if isinstance(k, Kernel) and k.unset}


def _foreign_parts(kernel: gpytorch.kernels.Kernel) -> Iterable[gpytorch.kernels.Kernel]:
    """Return the parts that are not ours, each once, in the order in which a `Packer` meets them."""
    if _is_learnt(kernel):
        return list(_foreign_parts(kernel.base_kernel))
    if not _is_ours(kernel):
        return [kernel]
    found = [part for component in kernel.components().values() for part in _foreign_parts(component)]
    return list({id(part): part for part in found}.values())


def _store(kernel: Kernel, raw_name: str, value: Tensor) -> None:
    learnt = getattr(kernel, raw_name).requires_grad
    kernel.register_parameter(raw_name, torch.nn.Parameter(value, requires_grad=learnt))


def _adopt(kernel: Kernel, path: str, state: Mapping[str, Tensor]) -> None:
    for declared in kernel.declared():
        value = state.get(f"{path}.{declared.raw_name}" if path else declared.raw_name)
        if value is not None:
            _store(kernel, declared.raw_name, value)


def _check_state(name: str, expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    built = {key: tuple(value.shape) for key, value in expected.items()}
    saved = {key: tuple(value.shape) for key, value in state.items()}
    for key in sorted(built.keys() | saved.keys()):
        if built.get(key) != saved.get(key):
            raise InputError(
                f"the given kernel is not built as the saved one: {key} of {name} has shape "
                f"{built.get(key, 'none')}, in the file {saved.get(key, 'none')}; call "
                "load(path, kernel=...) with the same class and arguments as before"
            )
