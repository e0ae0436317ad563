"""Gaussian processes and other non-parametric models, behind scikit-learn's API."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nonparam.averaging import HyperparameterAverage
    from nonparam.bayesian_linear import BayesianLinearRegressor
    from nonparam.classification import GPClassifier
    from nonparam.comparison import compare
    from nonparam.deep import DeepKernelRegressor
    from nonparam.forecasting import GPForecaster
    from nonparam.model_average import ModelAverage
    from nonparam.model_selection.search import KernelSearch
    from nonparam.multioutput import MultiOutputGPRegressor
    from nonparam.nearest_neighbours import NearestNeighbourGPRegressor
    from nonparam.networks import (
        FiniteNetworkClassifier,
        FiniteNetworkRegressor,
        InfiniteNetworkClassifier,
        InfiniteNetworkRegressor,
        compare_widths,
    )
    from nonparam.planning import plan
    from nonparam.regression import GPRegressor
    from nonparam.sparse import SparseGPRegressor
    from nonparam.spectral_mixture import SpectralMixtureRegressor
    from nonparam.uncertain_inputs import UncertainInputsRegressor

__all__ = [
    "BayesianLinearRegressor",
    "DeepKernelRegressor",
    "FiniteNetworkClassifier",
    "FiniteNetworkRegressor",
    "GPClassifier",
    "GPForecaster",
    "GPRegressor",
    "HyperparameterAverage",
    "InfiniteNetworkClassifier",
    "InfiniteNetworkRegressor",
    "KernelSearch",
    "ModelAverage",
    "MultiOutputGPRegressor",
    "NearestNeighbourGPRegressor",
    "SparseGPRegressor",
    "SpectralMixtureRegressor",
    "UncertainInputsRegressor",
    "compare",
    "compare_widths",
    "plan",
]
__version__ = "0.1.0"

_HOMES = {
    "BayesianLinearRegressor": "nonparam.bayesian_linear",
    "DeepKernelRegressor": "nonparam.deep",
    "FiniteNetworkClassifier": "nonparam.networks",
    "FiniteNetworkRegressor": "nonparam.networks",
    "GPClassifier": "nonparam.classification",
    "GPForecaster": "nonparam.forecasting",
    "GPRegressor": "nonparam.regression",
    "HyperparameterAverage": "nonparam.averaging",
    "InfiniteNetworkClassifier": "nonparam.networks",
    "InfiniteNetworkRegressor": "nonparam.networks",
    "KernelSearch": "nonparam.model_selection.search",
    "ModelAverage": "nonparam.model_average",
    "MultiOutputGPRegressor": "nonparam.multioutput",
    "NearestNeighbourGPRegressor": "nonparam.nearest_neighbours",
    "SparseGPRegressor": "nonparam.sparse",
    "SpectralMixtureRegressor": "nonparam.spectral_mixture",
    "UncertainInputsRegressor": "nonparam.uncertain_inputs",
    "compare": "nonparam.comparison",
    "compare_widths": "nonparam.networks",
    "plan": "nonparam.planning",
}


def __getattr__(name: str) -> Any:
    """Import what is public when it is first asked for: the command line starts without torch."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'nonparam' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List what is public before it was asked for: completion and the documentation look here."""
    return sorted({*globals(), *__all__})
