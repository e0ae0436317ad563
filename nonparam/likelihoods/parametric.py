"""Likelihoods with parameters of their own, which are learnt with those of the kernel."""

import copy
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from nonparam.errors import InputError
from nonparam.kernels.base import Hyperparameter
from nonparam.likelihoods.base import ResponseLikelihood
from nonparam.theta import Prior

__all__ = ["ParametricLikelihood"]


class ParametricLikelihood(ResponseLikelihood):
    """A likelihood that declares positive parameters in its body, as kernels do.

    A parameter that is not given starts at its prior median, which the data suggest; one that is given starts
    there.

    Args:
        values: of the parameters, by name; ``None`` leaves one to the data.
        fixed: names of parameters that are not learnt.

    Raises:
        InputError: a value that is not positive and finite, or a name in ``fixed`` that does not exist.
    """

    _declared: ClassVar[tuple[Hyperparameter, ...]] = ()

    def __init__(self, values: Mapping[str, float | None], fixed: Sequence[str]) -> None:
        super().__init__()
        names = [declared.name for declared in self._declared]
        if isinstance(fixed, str) or any(name not in names for name in fixed):
            raise InputError(f"{type(self).__name__}: fixed must list some of {names}, got {fixed!r}")
        self.fixed = tuple(fixed)
        self._priors: Mapping[str, Prior] = {}
        for declared in self._declared:
            value = values[declared.name]
            raw = torch.tensor(math.nan, dtype=torch.float64)
            if value is not None:
                raw = declared.to_raw(type(self).__name__, value)
            learnt = declared.name not in self.fixed
            self.register_parameter(declared.raw_name, torch.nn.Parameter(raw, requires_grad=learnt))

    def __init_subclass__(cls) -> None:
        """Gather the parameters that the class and those before it declare, once."""
        super().__init_subclass__()
        fields = [field for each in reversed(cls.__mro__) for field in vars(each).values()]
        found = {field.name: field for field in fields if isinstance(field, Hyperparameter)}
        cls._declared = tuple(found.values())

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that make it anew, but for parameters, whose stored values say more."""
        return {"fixed": self.fixed}

    @abstractmethod
    def suggested(self, y: NDArray[Any], weights: NDArray[np.float64]) -> Mapping[str, Prior]:
        """Return priors of the logarithms of the parameters, by name, which the data ``y (n, k)`` suggest.

        Args:
            y: ``(n, k)``.
            weights: ``(n,)``, of the rows.
        """

    def initialised(self, y: NDArray[Any], weights: NDArray[np.float64]) -> Self:
        """Return a copy whose unset parameters stand at the medians of their priors."""
        ready, suggested = copy.deepcopy(self), self.suggested(y, weights)
        for declared in self._declared:
            raw = ready.get_parameter(declared.raw_name)
            raw.data = torch.where(raw.isnan(), float(suggested[declared.name].mean), raw)
        ready._priors = {f"raw_{name}": prior for name, prior in suggested.items()}
        return ready

    def priors(self) -> Mapping[str, Prior]:
        """Return priors of the stored logarithms that are learnt, by their names, after `initialised`."""
        return {name: prior for name, prior in self._priors.items() if self.get_parameter(name).requires_grad}

    def __repr__(self) -> str:
        """Return the constructor's call with the present values."""
        values = {declared.name: float(getattr(self, declared.name).detach()) for declared in self._declared}
        said = [f"{name}={value:.4g}" for name, value in values.items() if not math.isnan(value)]
        return f"{type(self).__name__}({', '.join(said)})"
