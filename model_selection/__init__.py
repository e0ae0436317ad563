"""How well a hypothesis explains the data, and how well it predicts."""

if __name__ != "nonparam.model_selection":
    raise ImportError("this folder is part of a package: import nonparam.model_selection instead")

import importlib
from typing import TYPE_CHECKING, Any

from nonparam.model_selection.evidence import Evidence, evidence

if TYPE_CHECKING:
    from nonparam.model_selection.conditional import conditional_log_likelihood
    from nonparam.model_selection.laplace_evidence import laplace_evidence
    from nonparam.model_selection.loo import leave_one_out

__all__ = [
    "Evidence",
    "KernelSearch",
    "conditional_log_likelihood",
    "evidence",
    "laplace_evidence",
    "leave_one_out",
]

_HOMES = {
    "KernelSearch": "search",
    "conditional_log_likelihood": "conditional",
    "laplace_evidence": "laplace_evidence",
    "leave_one_out": "loo",
}


def __getattr__(name: str) -> Any:
    """Import what is built on the core when it is first asked for: the core itself needs the evidence."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"nonparam.model_selection.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'nonparam.model_selection' has no attribute {name!r}")
