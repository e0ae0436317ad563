"""How well a hypothesis explains the data, and how well it predicts."""

if __name__ != "nonparam.model_selection":
    raise ImportError("this folder is part of a package: import nonparam.model_selection instead")

import importlib
from typing import TYPE_CHECKING, Any

from nonparam.model_selection.evidence import Evidence, evidence

if TYPE_CHECKING:
    from nonparam.model_selection.adaptive_quadrature import quadrature_evidence
    from nonparam.model_selection.compression import complexity, lz76, zlib_rate
    from nonparam.model_selection.context_tree import ContextTree
    from nonparam.model_selection.evidence_integral import laplace_evidence
    from nonparam.model_selection.hypotheses import (
        BayesFactor,
        Hypothesis,
        bayes_factor,
        kass_raftery,
        sensitivity,
    )
    from nonparam.model_selection.importance import ImportanceEvidence, importance_evidence
    from nonparam.model_selection.joint import GaussianJoint, HeldOut, JointDensity
    from nonparam.model_selection.pac_bayes import code_nats, pac_bayes_bound
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
    from nonparam.model_selection.student_joint import StudentJoint

__all__ = [
    "BayesFactor",
    "ContextTree",
    "Evidence",
    "GaussianJoint",
    "HeldOut",
    "Hypothesis",
    "ImportanceEvidence",
    "JointDensity",
    "KernelSearch",
    "Score",
    "StudentJoint",
    "aic",
    "bayes_factor",
    "bic",
    "clml",
    "code_nats",
    "compare",
    "complexity",
    "effective_parameters",
    "evidence",
    "importance_evidence",
    "k_fold",
    "kass_raftery",
    "laplace_evidence",
    "lml",
    "loo",
    "lz76",
    "pac_bayes_bound",
    "prequential",
    "quadrature_evidence",
    "sensitivity",
    "stacking_weights",
    "zlib_rate",
]

_HOMES = {
    "BayesFactor": "hypotheses",
    "ContextTree": "context_tree",
    "GaussianJoint": "joint",
    "HeldOut": "joint",
    "Hypothesis": "hypotheses",
    "ImportanceEvidence": "importance",
    "JointDensity": "joint",
    "KernelSearch": "search",
    "Score": "scores",
    "StudentJoint": "student_joint",
    "aic": "scores",
    "bayes_factor": "hypotheses",
    "bic": "scores",
    "clml": "scores",
    "code_nats": "pac_bayes",
    "complexity": "compression",
    "effective_parameters": "scores",
    "importance_evidence": "importance",
    "k_fold": "scores",
    "kass_raftery": "hypotheses",
    "laplace_evidence": "evidence_integral",
    "lml": "scores",
    "loo": "scores",
    "lz76": "compression",
    "pac_bayes_bound": "pac_bayes",
    "prequential": "scores",
    "quadrature_evidence": "adaptive_quadrature",
    "sensitivity": "hypotheses",
    "stacking_weights": "stacking",
    "zlib_rate": "compression",
}


def __getattr__(name: str) -> Any:
    """Import what is built on the core when it is first asked for: the core itself needs the evidence."""
    if name == "compare":  # with the estimators, above this part
        return importlib.import_module("nonparam.comparison").compare
    if name in _HOMES:
        return getattr(importlib.import_module(f"nonparam.model_selection.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'nonparam.model_selection' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List what is public before it was asked for: completion and the documentation look here."""
    return sorted({*globals(), *__all__})
