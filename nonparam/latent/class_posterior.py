"""The latent functions of all classes given labels: their moments at new rows, and at each row left out."""

from collections.abc import Sequence
from dataclasses import dataclass

import gpytorch
import torch
from torch import Tensor

from nonparam.kernels.evaluate import covariance, variance
from nonparam.kernels.strips import assemble
from nonparam.latent.dirichlet import ClassInverses, ClassMeans, LogNormal, fit_means
from nonparam.solvers.plan import Plan, choose

__all__ = ["ClassPosterior", "condition_classes", "plan_classes"]

MATRICES = 4  # of n x n at the peak: two that stay, and what factorisation and products add
TABLES = 7  # of n x c at the peak: targets, noise, solves, moments of rows left out
BLOCK = 1024  # new rows worked on at a time


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
    def jitter(self) -> float:
        """Added to the diagonal of the covariance."""
        return self.inverses.jitter

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

    def left_out(self) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return the rows, and means and variances of the latent functions at each given all others.

        .. math:: m_i = y_i - [P y]_i / P_{ii}, \quad v_i = 1 / P_{ii} - \sigma_i^2

        with :math:`P = A^{-1} - A^{-1} h (h^\top A^{-1} h)^{-1} h^\top A^{-1}` and a constant :math:`h = 1`.

        Returns:
            The numbers of the rows ``(n,)``, all of them, and two of ``(n, c)``.

        Source: Rasmussen and Williams (2006), equations 5.10 to 5.12; the mean: Dubrule (1983), Cross
        validation of kriging in a unique neighborhood, Mathematical Geology 15.
        """
        fit = self.means
        precision = self.inverses.diagonals() - fit.weighted.square() / fit.information
        mean = self.targets - fit.alpha / precision
        rows = torch.arange(len(mean), device=mean.device)
        return rows, mean, (1.0 / precision - self.noise).clamp_min(0.0)


def plan_classes(n: int, classes: int, device: torch.device) -> Plan:
    """Return the plan for ``n`` rows, or raise `InsufficientMemoryError` where the memory does not hold it.

    Examples:
        >>> print(plan_classes(1000, 10, torch.device("cpu")))
        n=1,000: float64 Cholesky, 32.0 MB
    """
    return choose("cholesky", n, MATRICES + TABLES * classes // n, device)


@torch.no_grad()
def condition_classes(
    kernel: gpytorch.kernels.Kernel,
    x: Tensor,
    seen: LogNormal,
    sizes: Sequence[int],
    weights: Tensor | None = None,
) -> ClassPosterior:
    """Condition the latent functions of all classes on labels.

    Args:
        kernel: at fitted hyperparameters.
        x: ``(n, d)``, in order of the classes.
        seen: the targets and their noise.
        sizes: of the classes.
        weights: ``(n,)``, of the rows; ``None`` for 1.

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
    counted = torch.ones_like(x[:, 0]) if weights is None else weights
    torch.diagonal(b).add_(seen.outside_noise / counted)
    inverses, targets = ClassInverses.of(b, seen.spared / counted, sizes), seen.targets(sizes, x)
    noise = x.new_full(targets.shape, seen.outside_noise)
    noise[targets == seen.inside] = seen.inside_noise
    noise /= counted[:, None]
    return ClassPosterior(kernel, x, targets, noise, inverses, fit_means(inverses, targets))
