"""What torch does not have: distribution functions and draws, on the processor; ratios of gamma functions."""

import numpy as np
import scipy.special
import torch
from torch import Tensor

__all__ = ["betainc", "from_numpy", "log_rising", "numpy_generator", "student_t_distribution"]

STIRLING = 1e-2  # the reciprocal of an argument from which on the logarithm of the gamma function takes it


def betainc(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """Return the regularised incomplete beta function, without gradients.

    Examples:
        >>> one = torch.ones(1)
        >>> betainc(one, one, 0.3 * one)  # of the uniform distribution
        tensor([0.3000])
    """
    return from_numpy(scipy.special.betainc(*(each.detach().cpu().numpy() for each in (a, b, x))), x)


def student_t_distribution(df: Tensor, t: Tensor) -> Tensor:
    """Return the probability that a Student-t variable is at most ``t``, without gradients."""
    return from_numpy(scipy.special.stdtr(df.detach().cpu().numpy(), t.detach().cpu().numpy()), t)


def log_rising(x: Tensor, a: Tensor) -> Tensor:
    r"""Return :math:`\log \Gamma(x + r) - \log \Gamma(r) + x \log a` of a single :math:`r = 1 / a`.

    For large ``r`` by Stirling's series, in which what cancels is left out:
    :math:`(x + r - 1/2) \log(1 + a x) - x + S(x + r) - S(r)` with :math:`S(x) = 1 / 12 x - 1 / 360 x^3`.

    Examples:
        >>> log_rising(torch.tensor(3.0), torch.tensor(0.5)).exp()  # 2 * 3 * 4 / 2^3
        tensor(3.)
    """
    if float(a.detach()) >= STIRLING:
        return torch.lgamma(x + 1.0 / a) - torch.lgamma(1.0 / a) + x * a.log()
    small = a / (1.0 + a * x)
    series = (small - a) / 12.0 - (small**3 - a**3) / 360.0
    return (x + 1.0 / a - 0.5) * (a * x).log1p() - x + series


def from_numpy(values: np.ndarray, like: Tensor) -> Tensor:
    """Return a tensor of the type and on the device of another."""
    return torch.as_tensor(values).to(like)


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """Return a generator of NumPy's, seeded by a draw of torch's."""
    seed = torch.randint(2**63 - 1, (1,), generator=generator, device=generator.device)
    return np.random.default_rng(int(seed))
