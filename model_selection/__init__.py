"""How well a hypothesis explains the data, and how well it predicts."""

if __name__ != "nonparam.model_selection":
    raise ImportError("this folder is part of a package: import nonparam.model_selection instead")

import importlib
from typing import TYPE_CHECKING, Any

from nonparam.model_selection.evidence import Evidence, evidence

if TYPE_CHECKING:
    from nonparam.model_selection.evidence_integral import laplace_evidence
    from nonparam.model_selection.joint import GaussianJoint, HeldOut, JointDensity
    from nonparam.model_selection.scores import (
        Score,
        aic,
        bic,
        clml,
        effective_parameters,
        k_fold,
        lml,
        loo,
        prequential,
    )
    from nonparam.model_selection.stacking import stacking_weights

__all__ = [
    "Evidence",
    "GaussianJoint",
    "HeldOut",
    "JointDensity",
    "KernelSearch",
    "Score",
    "aic",
    "bic",
    "clml",
    "effective_parameters",
    "evidence",
    "k_fold",
    "laplace_evidence",
    "lml",
    "loo",
    "prequential",
    "stacking_weights",
]

_HOMES = {
    "GaussianJoint": "joint",
    "HeldOut": "joint",
    "JointDensity": "joint",
    "KernelSearch": "search",
    "Score": "scores",
    "aic": "scores",
    "bic": "scores",
    "clml": "scores",
    "effective_parameters": "scores",
    "k_fold": "scores",
    "laplace_evidence": "evidence_integral",
    "lml": "scores",
    "loo": "scores",
    "prequential": "scores",
    "stacking_weights": "stacking",
}


def __getattr__(name: str) -> Any:
    """Import what is built on the core when it is first asked for: the core itself needs the evidence."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"nonparam.model_selection.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'nonparam.model_selection' has no attribute {name!r}")
