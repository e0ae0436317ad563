"""How observations depend on functions: one class for each likelihood."""

from nonparam.likelihoods.base import Likelihood
from nonparam.likelihoods.bernoulli import Bernoulli

__all__ = ["Bernoulli", "Likelihood"]
