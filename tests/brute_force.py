"""Posteriors of hyperparameters by quadrature over a box, with the model written out in NumPy."""

import numpy as np
from scipy.special import logsumexp, ndtr
from scipy.stats import norm

from nonparam import GPRegressor
from nonparam.kernels import RBF, Scale

LENGTHSCALE, VARIANCE = 1.0, 1.0  # where they are held


def model_with(p, mean):
    """A regressor with an RBF kernel and ``p`` free hyperparameters: noise, lengthscale, variance."""
    kernel = {
        1: Scale(RBF(LENGTHSCALE, fixed=("lengthscale",)), VARIANCE, fixed=("outputscale",)),
        2: Scale(RBF(), VARIANCE, fixed=("outputscale",)),
        3: RBF(),
    }[p]
    return GPRegressor(kernel, mean=mean)


def rows(n, span=6.0, seed=0):
    rng = np.random.default_rng(seed)
    X = np.sort(rng.uniform(0.0, span, n))[:, None]
    return X, np.sin(X[:, 0]) + 0.2 * rng.standard_normal(n)


class BruteForce:
    """All that an average over hyperparameters says, from a fine grid in a box round the mode."""

    def __init__(self, model, X, y, *, points, wide=None):
        self.X, self.y, self.mean = X[:, 0], y, model.mean
        theta = model._theta(model.kernel_, model._scales, model.posterior_.data)
        sd = theta.prior_precision**-0.5
        centre, reach = (theta.prior_mean, 6.0 * sd) if wide is None else (model.theta_, np.array(wide))
        axes = [np.linspace(c - r, c + r, points) for c, r in zip(centre, reach, strict=True)]
        self.theta = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
        prior = norm(theta.prior_mean, sd).logpdf(self.theta).sum(1)
        self.log_joint = np.concatenate([self.likelihood(t) for t in np.array_split(self.theta, 50)]) + prior
        volume = sum(np.log(axis[1] - axis[0]) for axis in axes)
        self.log_evidence = logsumexp(self.log_joint) + volume
        self.weights = np.exp(self.log_joint - logsumexp(self.log_joint))

    def values(self, theta):
        """Variance, lengthscale and noise, ``(b, 1, 1)`` each, in the order of the regressor's vector."""
        ones = np.ones(len(theta))
        free = list(np.exp(theta).T)
        held = [VARIANCE * ones, LENGTHSCALE * ones][: 3 - len(free)]
        return [value[:, None, None] for value in (*held, *free)]

    def solved(self, theta):
        variance, lengthscale, noise = self.values(theta)
        n, H = len(self.X), np.ones((len(self.X), int(self.mean == "constant")))
        a = variance * np.exp(-0.5 * (self.X[:, None] - self.X) ** 2 / lengthscale**2) + noise * np.eye(n)
        inverse = np.linalg.inv(a)
        return a, inverse, H, H.T @ inverse @ H

    def likelihood(self, theta):
        a, inverse, H, information = self.solved(theta)
        projected = inverse - inverse @ H @ np.linalg.solve(information, H.T @ inverse)
        quadratic = np.einsum("i,bij,j->b", self.y, projected, self.y)
        determinants = np.linalg.slogdet(a)[1] + np.linalg.slogdet(information)[1]
        return -0.5 * (quadratic + determinants + (len(self.y) - H.shape[1]) * np.log(2.0 * np.pi))

    def moments(self, new):
        """Means and variances of a new observation at every node that counts, and the nodes' weights."""
        kept = self.weights > 1e-9
        theta = self.theta[kept]
        _, inverse, H, information = self.solved(theta)
        variance, lengthscale, noise = self.values(theta)
        k = (variance * np.exp(-0.5 * (self.X[:, None] - new) ** 2 / lengthscale**2))[..., 0]
        beta = np.linalg.solve(information, H.T @ inverse @ self.y[:, None])[..., 0]
        alpha = np.einsum("bij,bj->bi", inverse, self.y - beta @ H.T)
        mean = np.einsum("bi,bi->b", k, alpha) + beta.sum(1)
        left = variance[:, 0, 0] + noise[:, 0, 0] - np.einsum("bi,bij,bj->b", k, inverse, k)
        if H.shape[1]:
            left += (1.0 - np.einsum("ij,bik,bk->bj", H, inverse, k)[:, 0]) ** 2 / information[:, 0, 0]
        return mean, left, self.weights[kept] / self.weights[kept].sum()

    def predict(self, new):
        mean, left, weights = self.moments(new)
        centre = weights @ mean
        return centre, np.sqrt(weights @ (left + (mean - centre) ** 2))

    def cdf(self, new, y):
        mean, left, weights = self.moments(new)
        return weights @ ndtr((y - mean) / np.sqrt(left))

    def log_density(self, new, y):
        mean, left, weights = self.moments(new)
        return np.log(weights @ norm(mean, np.sqrt(left)).pdf(y))
