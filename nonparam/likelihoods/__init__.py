"""How observations depend on functions: one class for each likelihood."""

from nonparam.likelihoods.base import Likelihood, ResponseLikelihood
from nonparam.likelihoods.bernoulli import Bernoulli
from nonparam.likelihoods.beta import Beta
from nonparam.likelihoods.binomial import Binomial
from nonparam.likelihoods.censored import Censored
from nonparam.likelihoods.heteroscedastic import Heteroscedastic
from nonparam.likelihoods.negative_binomial import NegativeBinomial
from nonparam.likelihoods.parametric import ParametricLikelihood
from nonparam.likelihoods.poisson import Poisson
from nonparam.likelihoods.softmax import Softmax
from nonparam.likelihoods.student_t import StudentT

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Censored",
    "Heteroscedastic",
    "Likelihood",
    "NegativeBinomial",
    "ParametricLikelihood",
    "Poisson",
    "ResponseLikelihood",
    "Softmax",
    "StudentT",
]
