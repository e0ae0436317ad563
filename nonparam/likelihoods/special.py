"""What torch does not have: distribution functions and draws, on the processor and without gradients."""

import numpy as np
import scipy.special
import torch
from torch import Tensor

__all__ = ["betainc", "from_numpy", "numpy_generator", "student_t_distribution"]


def betainc(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """Return the regularised incomplete beta function.

    Examples:
        >>> one = torch.ones(1)
        >>> betainc(one, one, 0.3 * one)  # of the uniform distribution
        tensor([0.3000])
    """
    return from_numpy(scipy.special.betainc(*(each.detach().cpu().numpy() for each in (a, b, x))), x)


def student_t_distribution(df: Tensor, t: Tensor) -> Tensor:
    """Return the probability that a Student-t variable is at most ``t``."""
    return from_numpy(scipy.special.stdtr(df.detach().cpu().numpy(), t.detach().cpu().numpy()), t)


def from_numpy(values: np.ndarray, like: Tensor) -> Tensor:
    """Return a tensor of the type and on the device of another."""
    return torch.as_tensor(values).to(like)


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """Return a generator of NumPy's, seeded by a draw of torch's."""
    seed = torch.randint(2**63 - 1, (1,), generator=generator, device=generator.device)
    return np.random.default_rng(int(seed))
