r"""A panel with gaps by one Cholesky factor of its observed entries.

.. math:: A = P \, (B \otimes K + \mathrm{diag}(\sigma_1^2, \dots, \sigma_t^2) \otimes I) \, P^\top

where :math:`P` picks the observed entries; :math:`O(N^3)` for :math:`N` of them. It is also the oracle of
the two forms that use the structure.
"""

import torch
from torch import Tensor

from nonparam.model_selection.evidence import evidence
from nonparam.multioutput.panel import Panel
from nonparam.multioutput.slope import PanelEvidence, on_upper
from nonparam.solvers.cholesky import CholeskyFactor, cholesky

__all__ = ["masked_covariance", "masked_evidence", "masked_factor"]


def masked_covariance(panel: Panel, b: Tensor, noise: Tensor, k: Tensor) -> Tensor:
    """Return the covariance of the observed entries, ``(N, N)``, in memory of its own.

    Args:
        panel: what is observed.
        b: ``(t, t)``, the covariance of the outputs.
        noise: ``(t,)``, variances.
        k: ``(n, n)``, the covariance of the rows.

    Examples:
        >>> from nonparam.means import Mean
        >>> x, nan = torch.zeros(2, 1, dtype=torch.float64), float("nan")
        >>> panel = Panel(x, torch.tensor([[1.0, 2.0], [3.0, nan]]), Mean("zero", x[0], x[0]))
        >>> b, k = torch.tensor([[1.0, 0.5], [0.5, 1.0]]), torch.tensor([[2.0, 1.0], [1.0, 2.0]])
        >>> masked_covariance(panel, b, torch.tensor([0.1, 0.2]), k)
        tensor([[2.1000, 1.0000, 1.0000],
                [1.0000, 2.1000, 0.5000],
                [1.0000, 0.5000, 2.2000]])
    """
    a = k.new_empty(panel.count, panel.count)
    rows = [panel.row[part] for part in panel.parts]
    for o, (part, above) in enumerate(zip(panel.parts, rows, strict=True)):
        for p, (other, beside) in enumerate(zip(panel.parts, rows, strict=True)):
            a[part, other] = b[o, p] * k[above[:, None], beside]
    torch.diagonal(a).add_(noise[panel.output])
    return a


def masked_factor(panel: Panel, b: Tensor, noise: Tensor, k: Tensor) -> CholeskyFactor:
    """Return the Cholesky factor of the covariance of the observed entries; see `masked_covariance`.

    Raises:
        NotPositiveDefiniteError: a covariance that no admissible jitter repairs.
    """
    return cholesky(masked_covariance(panel, b, noise, k))


def masked_evidence(panel: Panel, b: Tensor, noise: Tensor, k: Tensor) -> PanelEvidence:
    """Return the log marginal likelihood and its derivatives; arguments as of `masked_covariance`.

    Raises:
        NotPositiveDefiniteError: a covariance that no admissible jitter repairs.

    Source: Rasmussen and Williams (2006), equation 5.9.
    """
    found = evidence(masked_covariance(panel, b, noise, k), panel.y, panel.basis, gradient=True)
    slope = found.gradient
    assert slope is not None
    in_k, in_b = torch.zeros_like(k), torch.zeros_like(b)
    rows = [panel.row[part] for part in panel.parts]
    for o, part in enumerate(panel.parts):
        for p in range(o, panel.t):
            block = slope[part, panel.parts[p]]  # above the diagonal: it counts for its transpose too
            block = block.triu() if o == p else block
            place = rows[o][:, None], rows[p]
            in_b[o, p] = (block * k[place]).sum()
            in_k[place] += b[o, p] * block
    in_noise = torch.stack([torch.diagonal(slope)[part].sum() for part in panel.parts])
    in_b = 0.5 * (in_b + in_b.mT)
    return PanelEvidence(found.value, on_upper(in_k), in_b, in_noise, found.jitter)
