"""Models of the same data side by side: which one the data support, and which one will predict best."""

from nonparam.comparison.comparison import compare
from nonparam.comparison.generalisation import GeneralisationVerdict
from nonparam.comparison.hypothesis import HypothesisVerdict
from nonparam.comparison.report import ComparisonReport

__all__ = ["ComparisonReport", "GeneralisationVerdict", "HypothesisVerdict", "compare"]
