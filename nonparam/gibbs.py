r"""A Gaussian process classifier that draws its function anew for each row, and a bound of its risk.

With the moments :math:`m, v` of the function at a row and a label :math:`y = \pm 1`, a draw is wrong with
probability :math:`\Phi(-y\, m / \sqrt v)`; the divergence of the posterior from the prior is that of two
Gaussians at the training rows.

Source: Seeger (2002), PAC-Bayesian generalisation error bounds for Gaussian process classification, JMLR 3,
section 3.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr
from sklearn.utils.validation import check_is_fitted

from nonparam.classification import GPClassifier
from nonparam.errors import InputError
from nonparam.latent.approximation import Independent
from nonparam.latent.model import LatentFit
from nonparam.model_selection.pac_bayes import pac_bayes_bound

__all__ = ["GibbsRisk", "gibbs_risk"]


@dataclass(frozen=True)
class GibbsRisk:
    """How often draws of the function err on the training rows, and what was learnt for that.

    Attributes:
        risk: on the training rows.
        nats: the divergence of the posterior from the prior.
        n: training rows.

    Examples:
        >>> round(GibbsRisk(0.05, 20.0, 1000).bound(), 3)
        0.117
    """

    risk: float
    nats: float
    n: int

    def bound(self, delta: float = 0.05) -> float:
        """Return what the risk on new rows is at most, but for a probability ``delta``: Seeger's bound."""
        return pac_bayes_bound(self.risk, self.n, self.nats, "seeger", delta=delta)


def gibbs_risk(model: GPClassifier) -> GibbsRisk:
    """Return the risk on the training rows of a classifier of two classes, with its divergence.

    Args:
        model: fitted, by Laplace's approximation or variationally, with a prior that has not seen the labels:
            ``mean="zero"``, and all hyperparameters of the kernel fixed beforehand.

    Raises:
        InputError: a model whose prior has seen the labels, or of another kind.

    Examples:
        >>> X = np.linspace(-2.0, 2.0, 100)[:, None]
        >>> from nonparam.kernels import RBF, Scale
        >>> kernel = Scale(RBF(1.0, fixed=("lengthscale",)), 9.0, fixed=("outputscale",))
        >>> found = gibbs_risk(GPClassifier(kernel, mean="zero").fit(X, X[:, 0] > 0.0))
        >>> found.risk < found.bound() < 0.3
        True
    """
    check_is_fitted(model)
    if len(model.theta_) or model.mean != "zero":
        raise InputError(
            "the bound needs a prior that has not seen the labels: fix all hyperparameters beforehand, such "
            f"as Scale(RBF(1.0, fixed=('lengthscale',)), 9.0, fixed=('outputscale',)), and take mean='zero'; "
            f"learnt were {list(model.theta_names_)}, with mean={model.mean!r}"
        )
    fit: Any = model._latent
    posterior = fit.approximation.posterior if isinstance(fit, LatentFit) else None
    if not isinstance(posterior, Independent) or len(posterior.posteriors) != 1:
        raise InputError(
            "the bound is of two classes, likelihood='bernoulli', with inference='laplace' or 'variational' "
            "and solver='cholesky'"
        )
    (single,) = posterior.posteriors
    sign = 2.0 * fit.seen.y[:, 0] - 1.0
    wrong = ndtr((-sign * single.mean / single.variance.sqrt()).cpu().numpy())
    return GibbsRisk(float(np.mean(wrong)), float(single.divergence), len(wrong))
