r"""Stochastic Lanczos quadrature: the log-determinant from a few products, with its standard error.

For :math:`u` uniform on the unit sphere and :math:`M = P^{-1/2} A P^{-1/2}`, with :math:`P \approx A`,

.. math::

    \log |A| = \log |P| + n \, \mathrm{E} \, u^\top (\log M) \, u, \qquad
    u^\top (\log M) \, u \approx e_1^\top (\log T_m) \, e_1,

where :math:`T_m` is the tridiagonal of :math:`m` Lanczos steps from :math:`u`: a Gauss quadrature of the
spectral measure. The nearer :math:`P` is to :math:`A`, the less the integrand varies and the fewer steps it
takes. There are two errors, and both are known:

* *sampling.* Over the sphere the variance of :math:`n \, u^\top F u` is
  :math:`2 n^2 / (n + 2)` times the variance of the eigenvalues of :math:`F = \log M`, and the same quadrature
  tells those moments: pooled over the probes they are known far better than the spread of a few values.
* *quadrature.* The even derivatives of the logarithm are negative and the odd ones positive: Gauss quadrature
  is an upper bound, and Gauss-Radau quadrature with a node below the spectrum is a lower one.

Source: Ubaru, Chen and Saad (2017), SIAM J. Matrix Anal. Appl. 38(4), 1075-1099; Golub and Meurant (2010),
Matrices, moments and quadrature, theorems 6.3 and 6.4; preconditioning: Wenger, Pleiss, Hennig, Cunningham
and Gardner (2022), ICML.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from nonparam.errors import InputError, NotPositiveDefiniteError
from nonparam.solvers.lanczos import Products, Tridiagonal, begun, longer
from nonparam.solvers.operator import SymmetricOperator
from nonparam.solvers.preconditioner import Preconditioner

__all__ = ["LogDeterminant", "log_determinant"]

NEGLIGIBLE = 0.1  # of the sampling error: no use in a quadrature that is more exact
MARGIN = 1e-3  # relative, of the Radau node below the Ritz values: it must lie below the spectrum


@dataclass(frozen=True)
class LogDeterminant:
    """An estimate of ``log |A|`` and what it may be wrong by, in nats.

    Attributes:
        value: the estimate.
        sampling_error: the standard deviation over the probes.
        quadrature_error: a bound of the mean error of the quadratures.
        rounding_error: what the rounding of the products may do.
        probes: how many random vectors.
        steps: products with all the probes.
    """

    value: float
    sampling_error: float
    quadrature_error: float
    rounding_error: float
    probes: int
    steps: int

    @property
    def standard_error(self) -> float:
        """All three errors together: the root of the sum of their squares."""
        return math.hypot(self.sampling_error, self.quadrature_error, self.rounding_error)


@dataclass(frozen=True)
class _Whitened:
    """``R^-1 A R^-T`` for ``P = R R'``: similar to ``P^-1 A``, and symmetric."""

    a: SymmetricOperator
    preconditioner: Preconditioner

    def __matmul__(self, v: Tensor) -> Tensor:
        return self.preconditioner.half_solve(self.a @ self.preconditioner.half_solve_transposed(v))


@torch.no_grad()
def log_determinant(
    a: SymmetricOperator,
    *,
    probes: Tensor | None = None,
    generator: torch.Generator | None = None,
    num_probes: int = 16,
    preconditioner: Preconditioner | None = None,
    smallest: float = 0.0,
    tolerance: float = 0.01,
    max_steps: int = 300,
) -> LogDeterminant:
    r"""Estimate the log-determinant of a symmetric positive definite operator, with its standard error.

    Steps are made until the quadratures are wrong by at most the tolerance, or by a tenth of the sampling
    error; where ``max_steps`` come first, the standard error says what is missing.

    Args:
        a: ``A``, ``n x n``.
        probes: ``(n, k)``, draws from ``N(0, P)``; only their directions matter. Or else:
        generator: draws them; not in the state that drew the rows of the data.
        num_probes: ``k``, with a generator; below 4 the sampling error is itself uncertain where one
            eigenvalue is far from all others.
        preconditioner: ``P``, by default the identity.
        smallest: a lower bound of the eigenvalues of ``P^-1 A``, which saves steps: the noise where ``P`` is
            the identity, 1 where ``A - P`` is positive semi-definite (a partial Cholesky plus the noise).
        tolerance: of the error of the quadratures, in nats.
        max_steps: products at most, each with all the probes; the basis of ``k max_steps n`` numbers is kept.

    Returns:
        The estimate and its errors; exact for a multiple of ``P``.

    Raises:
        InputError: neither probes nor a generator, or both; a probe of zeros.
        NotPositiveDefiniteError: ``A`` is singular or indefinite to the working precision.
        ConvergenceError: a product is not finite.

    Source: Ubaru, Chen and Saad (2017), algorithm 1; the bounds: Golub and Meurant (2010), section 6.2.

    Examples:
        >>> from nonparam.solvers.operator import Dense
        >>> a = Dense(torch.diag(torch.tensor([1.0, 2.0, 4.0, 4.0], dtype=torch.float64)))
        >>> found = log_determinant(a, generator=torch.Generator().manual_seed(0), num_probes=64)
        >>> abs(found.value - math.log(32.0)) < 3.0 * found.standard_error
        True
    """
    start = _directions(a, probes, generator, num_probes, preconditioner)
    operator: Products = a if preconditioner is None else _Whitened(a, preconditioner)
    known = 0.0 if preconditioner is None else preconditioner.log_determinant()
    relation = begun(start)
    while True:
        relation = longer(operator, relation, max_steps)
        found = _estimate(relation, smallest, known)
        enough = max(tolerance, NEGLIGIBLE * found.sampling_error)
        if found.quadrature_error <= enough or relation.ended(max_steps):
            return found


def _directions(
    a: SymmetricOperator,
    probes: Tensor | None,
    generator: torch.Generator | None,
    num_probes: int,
    preconditioner: Preconditioner | None,
) -> Tensor:
    """Return standard normal vectors ``(n, k)``: drawn, or the probes whitened."""
    if (probes is None) == (generator is None):
        raise InputError("the log-determinant needs probes or a generator, and not both")
    if probes is not None:
        return probes if preconditioner is None else preconditioner.half_solve(probes)
    device = a.device if generator is None else generator.device
    drawn = torch.randn(a.shape[0], num_probes, generator=generator, dtype=a.dtype, device=device)
    return drawn.to(a.device)


def _estimate(relation: Tridiagonal, smallest: float, known: float) -> LogDeterminant:
    n, k = relation.n, len(relation.size)
    values, vectors = relation.ritz()
    weights = vectors[:, 0].square()
    least, most = float(values.min()), float(values.max())
    floor = torch.finfo(relation.basis.dtype).eps * most
    if not least > floor:
        raise NotPositiveDefiniteError(_advice(least, most))
    logs = values.log()
    mean = (weights * logs).sum(1)
    spread = (weights * logs.square()).sum(1).mean() - mean.mean().square()
    below = _radau(relation, values, vectors, min(max(smallest, floor), (1.0 - MARGIN) * least))
    rounded = (weights * (relation.rounding / values).log1p()).sum(1)
    return LogDeterminant(
        value=known + n * float(mean.mean()),
        sampling_error=n * math.sqrt(max(0.0, 2.0 * float(spread) / ((n + 2) * k - 2))),
        quadrature_error=n * max(0.0, float((mean - below).mean())),
        rounding_error=n * float(rounded.mean()),
        probes=k,
        steps=relation.steps,
    )


def _radau(relation: Tridiagonal, values: Tensor, vectors: Tensor, node: float) -> Tensor:
    """Return ``e_1' log(T) e_1`` of the tridiagonal with a row more that has ``node`` for an eigenvalue.

    Golub and Meurant (2010), equation 6.9: the row is ``(beta_m, node + beta_m^2 e_m' (T - node I)^-1 e_m)``.
    """
    beta = relation.beta[:, -1].double()
    corner = node + beta.square() * (vectors[:, -1].square() / (values - node)).sum(1)
    bordered = pad(relation.matrices(), (0, 1, 0, 1))
    bordered[:, -1, -1] = corner
    bordered[:, -1, -2] = bordered[:, -2, -1] = beta
    values, vectors = torch.linalg.eigh(bordered)
    return (vectors[:, 0].square() * values.clamp(min=node).log()).sum(1)


def _advice(least: float, most: float) -> str:
    return (
        f"the log-determinant of a matrix with eigenvalues of {least:.3g} and {most:.3g} is not known: "
        "expected one that is positive definite to the working precision; try a larger noise, or float64"
    )
