"""Numbers with outliers: errors of Student's distribution."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.kernels.base import Hyperparameter
from nonparam.likelihoods.parametric import ParametricLikelihood
from nonparam.likelihoods.special import from_numpy, log_rising, numpy_generator, student_t_distribution
from nonparam.theta import Prior

__all__ = ["StudentT", "robust_scale"]

LEAST_DF = 2.05  # with fewer degrees of freedom there is no variance
MANY_DF = 200.0  # beyond, errors are Gaussian for all that data show
DF = 5.0  # the prior median
NOISE = 0.2  # of the variance of y: the prior median of the scale's square
TO_DEVIATION = 1.4826  # from the median absolute deviation of a Gaussian variable


class StudentT(ParametricLikelihood):
    r"""A number around the function, with errors of which a few are large.

    .. math:: p(y \mid f) = \frac{\Gamma((\nu + 1) / 2)}{\Gamma(\nu / 2) \sqrt{\pi \nu}\, s}
              \left(1 + \frac{(y - f)^2}{\nu s^2}\right)^{-(\nu + 1) / 2}

    It is not log-concave: far from all others an observation counts for nothing. Inference takes the lower
    bound of the expected log density that Jensen's inequality gives,

    .. math:: E \log\left(1 + \frac{(y - f)^2}{\nu s^2}\right)
              \le \log\left(1 + \frac{(y - m)^2 + v}{\nu s^2}\right), \quad f \sim N(m, v),

    the same as a Gaussian error for each row with a precision that is independent of the function. So what a
    row says of the function always is a Gaussian of positive precision,
    :math:`(\nu + 1) / (\nu s^2 + (y - m)^2 + v)`, and each step raises the bound of the evidence.

    Args:
        df: degrees of freedom :math:`\nu`; above 2.05 where they are learnt, so that there is a variance.
        scale: :math:`s`, in units of ``y``.
        fixed: names of those that are not learnt.

    Raises:
        InputError: a number that is not positive and finite, or another name in ``fixed``.

    Source: Tipping and Lawrence (2005), Variational inference for Student-t models: robust Bayesian
    interpolation and generalised component analysis, Neurocomputing 69.

    Examples:
        >>> y, f = torch.zeros(1, 1), torch.zeros(1, 1)
        >>> StudentT(df=1.0, scale=1.0).log_density(y, f).exp()  # of Cauchy's: 1 / pi
        tensor([[0.3183]], grad_fn=<ExpBackward0>)
    """

    keyword = "student_t"
    df = Hyperparameter("1")
    scale = Hyperparameter("1")

    def __init__(
        self, df: float | None = None, scale: float | None = None, fixed: Sequence[str] = ()
    ) -> None:
        super().__init__({"df": df, "scale": scale}, fixed)

    def check(self, y: NDArray[Any]) -> None:
        """Take any numbers."""

    def suggested(self, y: NDArray[Any], weights: NDArray[np.float64]) -> Mapping[str, Prior]:
        """Return priors of the logarithms: of few degrees of freedom, and of a part of the data's scale."""
        scale = math.log(math.sqrt(NOISE) * robust_scale(y[:, 0], weights))
        return {
            "df": Prior(math.log(DF), 1.0, math.log(LEAST_DF), math.log(MANY_DF)),
            "scale": Prior(scale, 1.0, scale - math.log(1e4), scale + math.log(1e4)),
        }

    def typical(self, y: NDArray[Any], weights: NDArray[np.float64]) -> Sequence[tuple[float, float]]:
        """Return the median, and the variance around it without outliers."""
        return [(_median(y[:, 0], weights), robust_scale(y[:, 0], weights) ** 2)]

    def log_density(self, y: Tensor, f: Tensor) -> Tensor:
        """Return ``log p(y | f)``."""
        return self._of_square((y[:, :1] - f).square())

    def expected_log_density(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Return a lower bound of its mean over Gaussian functions."""
        return self._of_square((y[:, :1] - mean).square() + variance)[:, 0]

    def _of_square(self, square: Tensor) -> Tensor:
        df: Tensor = self.df
        scale: Tensor = self.scale
        constant = log_rising(torch.full_like(df, 0.5), 2.0 / df) - 0.5 * math.log(2.0 * math.pi)
        return constant - scale.log() - 0.5 * (df + 1.0) * (square / (df * scale.square())).log1p()

    def response(self, f: Tensor, exposure: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the function, and the variance of the errors, infinite where ``df`` is 2 or less."""
        df = self.df
        variance = torch.where(df > 2.0, self.scale.square() * df / (df - 2.0), math.inf)
        return f, variance * torch.ones_like(f)

    def width(self, f: Tensor, exposure: Tensor | None = None) -> Tensor:
        """Return the scale: deviations may be infinite."""
        scale: Tensor = self.scale
        return scale.expand_as(f)

    def distribution(self, y: Tensor, f: Tensor, exposure: Tensor | None = None) -> Tensor:
        """Return the probability of an observation of at most ``y``."""
        return student_t_distribution(self.df, (y - f) / self.scale)

    def sample(self, f: Tensor, generator: torch.Generator, exposure: Tensor | None = None) -> Tensor:
        """Draw observations."""
        drawn = numpy_generator(generator).standard_t(float(self.df.detach()), tuple(f.shape))
        scale: Tensor = self.scale
        return f + scale * from_numpy(drawn, f)


def robust_scale(y: NDArray[Any], weights: NDArray[np.float64]) -> float:
    """Return a standard deviation that outliers do not move; 1 for numbers that are alike.

    Examples:
        >>> round(robust_scale(np.array([1.0, 2.0, 3.0, 4.0, 1e9]), np.ones(5)), 2)
        1.48
    """
    absolute = np.abs(y - _median(y, weights))
    deviation = TO_DEVIATION * _median(absolute, weights)
    found = deviation if deviation > 0.0 else float(np.average(absolute, weights=weights))
    size = float(np.abs(y).max())
    return found if found > 1e-13 * size else size if size > 0.0 else 1.0


def _median(y: NDArray[Any], weights: NDArray[np.float64]) -> float:
    return float(np.quantile(y, 0.5, weights=weights, method="inverted_cdf"))
