"""The latent functions of all classes given labels: their moments at new rows, and at each row left out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import gpytorch
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from nonparam.kernels.evaluate import covariance, variance
from nonparam.kernels.strips import assemble
from nonparam.networks.dirichlet import ClassInverses, ClassMeans, LogNormal, fit_means
from nonparam.networks.softmax import expected_softmax
from nonparam.solvers.plan import choose

__all__ = ["MATRICES", "ClassPosterior", "best_temperature", "condition_classes"]

MATRICES = 4  # of n x n at the peak: two that stay, and what factorisation and products add
BLOCK = 1024  # new rows worked on at a time
HOTTEST = 20.0  # factor by which the latent functions are shrunk or stretched at most
ENOUGH = 20_000  # numbers, rows times classes, that the temperature is chosen by
FEWEST = 200  # rows among them
TOLERANCE = 0.01  # of the logarithm of the temperature


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
    choose("cholesky", len(x), MATRICES, x.device)
    b = assemble(kernel, x).matrix
    torch.diagonal(b).add_(seen.outside_noise)
    inverses, targets = ClassInverses.of(b, seen.spared, sizes), seen.targets(sizes, x)
    noise = torch.where(targets == seen.inside, seen.inside_noise, seen.outside_noise).to(x)
    return ClassPosterior(kernel, x, targets, noise, inverses, fit_means(inverses, targets))


def best_temperature(posterior: ClassPosterior, generator: torch.Generator) -> tuple[float, float]:
    r"""Return the temperature :math:`\tau` of the softmax of :math:`f / \tau` by the log loss of rows left out.

    Args:
        posterior: of all rows; where these times the classes are many, some rows are enough.
        generator: of these rows.

    Returns:
        The temperature, and the mean log loss, in nats.

    Source: Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks, ICML, section
    4.2; here no row is held out.
    """
    mean, spread = posterior.left_out()
    own = posterior.targets.argmax(1)
    count = max(FEWEST, ENOUGH // mean.shape[1])
    some = torch.randperm(len(own), generator=generator)[:count].to(own.device)
    mean, spread, own = mean[some], spread[some], own[some, None]

    def log_loss(log_temperature: float) -> float:
        factor = math.exp(-log_temperature)
        shares = expected_softmax(factor * mean, factor**2 * spread).gather(1, own)
        return -float(shares.clamp_min(torch.finfo(shares.dtype).tiny).log().mean())

    reach = math.log(HOTTEST)
    found = minimize_scalar(log_loss, bounds=(-reach, reach), method="bounded", options={"xatol": TOLERANCE})
    return math.exp(found.x), float(found.fun)
