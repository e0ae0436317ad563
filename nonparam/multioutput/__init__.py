"""Several outputs that share information, with gaps: Gaussian processes with coregionalisation."""

from nonparam.multioutput.estimator import MultiOutputGPRegressor

__all__ = ["MultiOutputGPRegressor"]
