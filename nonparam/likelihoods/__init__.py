"""How observations depend on functions: one class for each likelihood."""

from nonparam.likelihoods.base import Likelihood, ResponseLikelihood
from nonparam.likelihoods.bernoulli import Bernoulli
from nonparam.likelihoods.poisson import Poisson
from nonparam.likelihoods.softmax import Softmax

__all__ = ["Bernoulli", "Likelihood", "Poisson", "ResponseLikelihood", "Softmax"]
