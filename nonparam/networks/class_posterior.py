"""The latent functions of all classes given labels: their moments at new rows, and at each row left out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from nonparam.kernels.evaluate import covariance, variance
from nonparam.kernels.strips import assemble
from nonparam.networks.dirichlet import ClassInverses, ClassMeans, LogNormal, fit_means
from nonparam.networks.softmax import expected_softmax
from nonparam.solvers.plan import Plan, choose

__all__ = ["Calibration", "ClassPosterior", "calibrate", "condition_classes", "plan_classes"]

MATRICES = 4  # of n x n at the peak: two that stay, and what factorisation and products add
TABLES = 7  # of n x c at the peak: targets, noise, solves, moments of rows left out
BLOCK = 1024  # new rows worked on at a time
ENOUGH = 10_000  # numbers, rows times classes, that probabilities are calibrated by
FEWEST = 200  # rows among them
LOWEST, HIGHEST = math.log(0.1), math.log(50.0)  # temperature
BOUNDS = np.array([[LOWEST, HIGHEST], [math.log(0.1), 0.0], [0.0, 1.0]])  # of it, the spread and the share
SPREAD = math.log(0.3)  # where the search starts
MOVES = np.array([0.5, 0.5, 0.3])
MAX_EVALUATIONS = 40


@dataclass(frozen=True)
class ClassPosterior:
    """A Gaussian process for each class, given log-normal targets.

    Attributes:
        kernel: of all of them.
        x: ``(n, d)``, in order of the classes.
        targets: ``(n, c)``.
        noise: ``(n, c)``, its variances.
        inverses: of the covariances of the targets.
        means: the constant mean of each class.
    """

    kernel: gpytorch.kernels.Kernel
    x: Tensor
    targets: Tensor
    noise: Tensor
    inverses: ClassInverses
    means: ClassMeans

    @property
    def log_shares(self) -> Tensor:
        """The logarithms of the shares of the classes, ``(c,)``."""
        shares = [size / len(self.x) for size in self.inverses.sizes]
        return torch.tensor(shares, dtype=self.x.dtype, device=self.x.device).log()

    @torch.no_grad()
    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and variances of the latent functions at ``x (m, d)``: two of ``(m, c)``.

        Source: Rasmussen and Williams (2006), equations 2.25, 2.26 and 2.42, for each class.
        """
        means, variances = zip(*(self._moments(rows) for rows in x.split(BLOCK)), strict=True)
        return torch.cat(means), torch.cat(variances)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        cross, fit = covariance(self.kernel, self.x, x), self.means
        mean = fit.coefficients + cross.mT @ fit.alpha
        left = (variance(self.kernel, x)[:, None] - self.inverses.quadratic(cross)).clamp_min(0.0)
        return mean, left + (1.0 - cross.mT @ fit.weighted).square() / fit.information

    def left_out(self) -> tuple[Tensor, Tensor]:
        r"""Return means and variances of the latent functions at each row given all others: ``(n, c)``.

        .. math:: m_i = y_i - [P y]_i / P_{ii}, \quad v_i = 1 / P_{ii} - \sigma_i^2

        with :math:`P = A^{-1} - A^{-1} h (h^\top A^{-1} h)^{-1} h^\top A^{-1}` and a constant :math:`h = 1`.

        Source: Rasmussen and Williams (2006), equations 5.10 to 5.12; the mean: Dubrule (1983), Cross
        validation of kriging in a unique neighborhood, Mathematical Geology 15.
        """
        fit = self.means
        precision = self.inverses.diagonals() - fit.weighted.square() / fit.information
        mean = self.targets - fit.alpha / precision
        return mean, (1.0 / precision - self.noise).clamp_min(0.0)


def plan_classes(n: int, classes: int, device: torch.device) -> Plan:
    """Return the plan for ``n`` rows, or raise `InsufficientMemoryError` where the memory does not hold it.

    Examples:
        >>> print(plan_classes(1000, 10, torch.device("cpu")))
        n=1,000: float64 Cholesky, 32.0 MB
    """
    return choose("cholesky", n, MATRICES + TABLES * classes // n, device)


@torch.no_grad()
def condition_classes(
    kernel: gpytorch.kernels.Kernel, x: Tensor, seen: LogNormal, sizes: Sequence[int]
) -> ClassPosterior:
    """Condition the latent functions of all classes on labels.

    Args:
        kernel: at fitted hyperparameters.
        x: ``(n, d)``, in order of the classes.
        seen: the targets and their noise.
        sizes: of the classes.

    Raises:
        InsufficientMemoryError: more rows than the memory holds.
        NotPositiveDefiniteError: the covariance cannot be factorised.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> x = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
        >>> posterior = condition_classes(4.0 * RBF(1.0), x, LogNormal.of(0.01), [1, 2])
        >>> posterior.moments(x)[0].argmax(1)
        tensor([0, 1, 1])
    """
    plan_classes(len(x), len(sizes), x.device)
    b = assemble(kernel, x).matrix
    torch.diagonal(b).add_(seen.outside_noise)
    inverses, targets = ClassInverses.of(b, seen.spared, sizes), seen.targets(sizes, x)
    noise = x.new_full(targets.shape, seen.outside_noise)
    noise[targets == seen.inside] = seen.inside_noise
    return ClassPosterior(kernel, x, targets, noise, inverses, fit_means(inverses, targets))


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


def calibrate(posterior: ClassPosterior, generator: torch.Generator) -> Calibration:
    """Return the calibration with the smallest log loss of rows that are left out.

    Args:
        posterior: of all rows; where these times the classes are many, some rows are enough.
        generator: of these rows.

    Source: Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks, ICML, section
    4.2, for the temperature; here no row is held out. The search: Nelder and Mead (1965), A simplex method
    for function minimization, The Computer Journal 7(4).
    """
    mean, variance = posterior.left_out()
    own = posterior.targets.argmax(1)
    count = max(FEWEST, ENOUGH // mean.shape[1])
    some = torch.randperm(len(own), generator=generator)[:count].to(own.device)
    mean, variance, own = mean[some], variance[some], own[some, None]

    def log_loss(point: NDArray[np.float64]) -> float:
        shares = _calibration(point).probabilities(mean, variance, posterior.log_shares).gather(1, own)
        return -float(shares.clamp_min(torch.finfo(shares.dtype).tiny).log().mean())

    start = _without_spread(mean, own, posterior.log_shares)
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
