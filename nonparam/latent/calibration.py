"""Probabilities of classes from latent functions, calibrated on rows that are left out."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from nonparam.likelihoods.softmax import expected_softmax

__all__ = ["Calibration", "calibrate"]

ENOUGH = 10_000  # numbers, rows times classes, that probabilities are calibrated by
FEWEST = 200  # rows among them
LOWEST, HIGHEST = math.log(0.1), math.log(50.0)  # temperature
BOUNDS = np.array([[LOWEST, HIGHEST], [math.log(0.1), 0.0], [0.0, 1.0]])  # of it, the spread and the share
SPREAD = math.log(0.3)  # where the search starts
MOVES = np.array([0.5, 0.5, 0.3])
MAX_EVALUATIONS = 40


@dataclass(frozen=True)
class Calibration:
    r"""How latent functions become probabilities, where a class has the share :math:`\pi_c` of the rows.

    .. math:: E\, \mathrm{softmax}((m + \kappa \sqrt v\, z) / \tau + \rho \log \pi), \quad z \sim N(0, I)

    Attributes:
        temperature: :math:`\tau`.
        spread: :math:`\kappa`, the part of the deviations that counts.
        share: :math:`\rho`; of use where classes are of unlike sizes, and the functions tell little.
        log_loss: the mean log loss of rows given all others, in nats; NaN where nothing was learnt.

    Examples:
        >>> mean, none = torch.tensor([[0.0, math.log(9.0)]], dtype=torch.float64), torch.zeros(2)
        >>> Calibration(2.0, 1.0, 0.0, math.nan).probabilities(mean, 0.0 * mean, none).round(decimals=4)
        tensor([[0.2500, 0.7500]], dtype=torch.float64)
    """

    temperature: float
    spread: float
    share: float
    log_loss: float

    def probabilities(self, mean: Tensor, variance: Tensor, log_shares: Tensor) -> Tensor:
        """Return the probabilities of the classes: ``(m, c)``.

        Args:
            mean: ``(m, c)``, of the latent functions.
            variance: ``(m, c)``.
            log_shares: ``(c,)``.
        """
        ratio = self.spread / self.temperature
        return expected_softmax(mean / self.temperature + self.share * log_shares, ratio**2 * variance)


def calibrate(
    mean: Tensor, variance: Tensor, own: Tensor, log_shares: Tensor, generator: torch.Generator
) -> Calibration:
    """Return the calibration with the smallest log loss of rows that are left out.

    Args:
        mean: ``(n, c)``, of the latent functions at each row given all others.
        variance: ``(n, c)``.
        own: ``(n,)``, the classes of the rows.
        log_shares: ``(c,)``, logarithms of the shares of the classes.
        generator: of some of the rows, where these times the classes are many.

    Source: Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks, ICML, section
    4.2, for the temperature; here no row is held out. The search: Nelder and Mead (1965), A simplex method
    for function minimization, The Computer Journal 7(4).
    """
    count = max(FEWEST, ENOUGH // mean.shape[1])
    some = torch.randperm(len(own), generator=generator)[:count].to(own.device)
    mean, variance, own = mean[some], variance[some], own[some, None]

    def log_loss(point: NDArray[np.float64]) -> float:
        shares = _calibration(point).probabilities(mean, variance, log_shares).gather(1, own)
        return -float(shares.clamp_min(torch.finfo(shares.dtype).tiny).log().mean())

    start = _without_spread(mean, own, log_shares)
    inwards = np.diag(np.where(start > BOUNDS.mean(1), -MOVES, MOVES))
    options = {
        "initial_simplex": np.vstack([start, start + inwards]),
        "maxfev": MAX_EVALUATIONS,
        "xatol": 0.02,
        "fatol": 1e-4,
    }
    found = minimize(log_loss, start, method="Nelder-Mead", bounds=BOUNDS, options=options)
    return replace(_calibration(found.x), log_loss=float(found.fun))


def _without_spread(mean: Tensor, own: Tensor, log_shares: Tensor) -> NDArray[np.float64]:
    r"""Return where the search starts: at the best calibration of functions whose deviations do not count.

    The log loss of :math:`m / \tau + \rho \log \pi` is convex in :math:`(1 / \tau, \rho)`.

    Args:
        mean: ``(m, c)``.
        own: ``(m, 1)``, the classes of the rows.
        log_shares: ``(c,)``.

    Source: Boyd and Vandenberghe (2004), Convex optimization, section 7.1.1.
    """
    columns = torch.stack([mean, log_shares.expand_as(mean)])
    seen = columns.gather(2, own.expand(2, *own.shape)).mean((1, 2))

    def log_loss(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = torch.tensor(point, device=mean.device)
        scores = torch.einsum("k,kmc->mc", weights, columns)
        slope = (columns * scores.softmax(1)).sum(2).mean(1) - seen
        return float(scores.logsumexp(1).mean() - weights @ seen), slope.cpu().numpy()

    bounds = [(math.exp(-HIGHEST), math.exp(-LOWEST)), (0.0, 1.0)]
    found = minimize(log_loss, (1.0, 0.5), jac=True, method="L-BFGS-B", bounds=bounds)
    return np.array([-math.log(found.x[0]), SPREAD, found.x[1]])


def _calibration(point: NDArray[np.float64]) -> Calibration:
    temperature, spread, share = point.tolist()
    return Calibration(math.exp(temperature), math.exp(spread), share, math.nan)
