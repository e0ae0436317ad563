"""How well a hypothesis explains the data, and how well it predicts."""

if __name__ != "nonparam.model_selection":
    raise ImportError("this folder is part of a package: import nonparam.model_selection instead")

from nonparam.model_selection.evidence import Evidence, evidence

__all__ = ["Evidence", "evidence"]
