r"""Networks of several widths beside the limit that they tend to.

At each width, for each seed, with the tangent kernel :math:`T` of the limit and :math:`\hat T` of a network:

* the relative errors :math:`\|\hat K - K\| / \|K\|` and :math:`\|\hat T - T\| / \|T\|` of both kernels at the
  start, in Frobenius' norm, which should fall as :math:`m^{-1/2}`;
* predictions of new rows after gradient descent on the squared error of all rows for the same time: of the
  network itself, of the network to first order in its weights, whose kernel is :math:`\hat T`, and of the
  limit; see `nonparam.networks.gradient_flow`.

Sources: Lee, Xiao, Schoenholz, Bahri, Novak, Sohl-Dickstein and Pennington (2019), Wide neural networks of
any depth evolve as linear models under gradient descent, NeurIPS; Jacot, Gabriel and Hongler (2018), Neural
tangent kernel, NeurIPS.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from torch import Tensor

from nonparam.errors import ConvergenceError, InputError
from nonparam.kernels.infinite import InfiniteNetwork
from nonparam.kernels.layers import Sequential
from nonparam.networks.empirical import EmpiricalNTK
from nonparam.networks.finite import FiniteNetwork
from nonparam.networks.gradient_flow import Eigenvectors, Gain, gain
from nonparam.networks.members import Members
from nonparam.networks.width_report import Predictions, WidthReport, WidthRow
from nonparam.progress import Tally
from nonparam.validation import check_count, check_outputs, check_seed, check_table

__all__ = ["compare_widths"]

Array = NDArray[np.float64]

MOST_ROWS = 200  # in each part: a tangent kernel of each network takes time and memory
KERNEL_ROWS = 50  # for the errors of kernels
FEWEST_ROWS = 20
TEST = 0.25  # of the rows; as many others tell how large the noise is
STEPS = 2  # times as many as would be on the edge of swinging up, at half of its rate
EXPLODED = 10.0  # times the loss at the start


def compare_widths(
    arch: str | Sequential | InfiniteNetwork,
    X: Any,
    y: Any,
    widths: Sequence[int] = (32, 64, 128, 256, 512),
    seeds: int = 10,
    *,
    steps: int = 500,
    random_state: int | np.random.RandomState | None = 0,
    verbose: int = 0,
) -> WidthReport:
    r"""Compare finite networks of several widths with each other and with their infinitely wide limit.

    Half of the rows are trained on; a quarter is predicted, and another quarter tells each way of predicting
    how large its noise is; at most 200 rows each.

    Args:
        arch: such as ``"relu-2"``, a `nonparam.networks.Sequential`, or the kernel of a fitted model, whose
            variances, centre and spread are then taken.
        X: ``(n, d)``.
        y: ``(n,)``.
        widths: units of every hidden layer, at least two different numbers.
        seeds: networks of each width.
        steps: of gradient descent of the limit, at half of the rate from which on it would swing up; networks
            whose tangent kernel is larger take more, and smaller, steps.
        random_state: of the rows' parts and of the weights.
        verbose: 1 to show how far it is.

    Returns:
        The report; it prints as a table, and has ``plot()``.

    Raises:
        InputError: data or arguments that cannot be compared, such as fewer than 20 rows.

    Source: see `nonparam.networks.widths`.

    Examples:
        >>> X = np.linspace(-2.0, 2.0, 60)[:, None]
        >>> report = compare_widths("erf-1", X, np.sin(2.0 * X[:, 0]), (16, 64), seeds=4, steps=50)
        >>> bool(report.ntk_errors[0].mean() > report.ntk_errors[1].mean())
        True
    """
    numbers = _check_widths(widths)
    check_count(seeds, "seeds", least=2)
    check_count(steps, "steps", least=1)
    rng = check_seed(random_state)
    problem = _problem(arch, X, y, rng, steps)
    first = int(rng.randint(2**30))
    limit = problem.limit()
    rows = []
    with Tally(bool(verbose), len(numbers) * seeds, "networks") as tally:
        for width in numbers:
            rows.append(_row(problem, width, range(first, first + seeds), limit))
            tally.add(seeds, f"width {width}")
    return WidthReport(
        architecture=str(problem.kernel.architecture),
        rows=tuple(rows),
        limit=problem.judged(limit.mean, limit.variance),
        counts=(len(problem.x), len(problem.held), len(problem.new)),
        time=problem.time,
    )


@dataclass(frozen=True)
class _Limit:
    """The infinitely wide networks: their kernels where errors are taken, and what they predict.

    Attributes:
        kernels: ``"nngp"`` and ``"ntk"`` of the first rows.
        mean: of an ensemble after training, at the rows held out and then at the new ones.
        variance: likewise.
    """

    kernels: tuple[Tensor, Tensor]
    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class _Problem:
    """What all networks are given.

    Attributes:
        kernel: of the limit, of the kind ``"ntk"``.
        x: rows that are trained on, ``(n, d)``.
        y: their outputs, centred and scaled, ``(n,)``.
        held: rows that tell the noise.
        held_y: their outputs.
        new: rows that are predicted.
        new_y: their outputs.
        time: of training.
    """

    kernel: InfiniteNetwork
    x: Tensor
    y: Tensor
    held: Tensor
    held_y: Tensor
    new: Tensor
    new_y: Tensor
    time: float

    @property
    def others(self) -> Tensor:
        """The rows that are not trained on."""
        return torch.cat([self.held, self.new])

    def network(self, width: int, seed: int) -> FiniteNetwork:
        """Return a network at its start."""
        return FiniteNetwork(self.kernel, self.x.shape[1], width, seed=seed)

    @torch.no_grad()
    def covariance(self, width: int, seed: int) -> Tensor:
        """Return the covariance over the outputs, as many as units, of a network at its start."""
        network = FiniteNetwork(self.kernel, self.x.shape[1], width, outputs=width, seed=seed)
        outputs: Tensor = network(self.x[:KERNEL_ROWS])
        return outputs @ outputs.mT / width

    @torch.no_grad()
    def limit(self) -> _Limit:
        """Return what infinitely wide networks do."""
        covariance, tangent = self.kernel.both(self.x)
        across, tangents = self.kernel.both(self.others, self.x)
        pulled = Eigenvectors.of(tangent, gain(self.time / len(self.x))) @ tangents.mT
        start = copy.deepcopy(self.kernel).set_params(kind="nngp")
        change = covariance @ pulled - 2.0 * across.mT
        some = slice(KERNEL_ROWS)
        return _Limit(
            (covariance[some, some], tangent[some, some]),
            pulled.mT @ self.y,
            (start.diagonal(self.others) + (pulled * change).sum(0)).clamp(min=0.0),
        )

    def judged(self, mean: Tensor, variance: Tensor) -> Predictions:
        """Return how good predictions of the rows held out and of the new ones are."""
        cut = len(self.held)
        left = (self.held_y - mean[:cut]).square() - variance[:cut]
        noise = max(float(left.mean()), 1e-6)
        return Predictions.of(mean[cut:].numpy(), (variance[cut:] + noise).numpy(), self.new_y.numpy(), noise)


def _row(problem: _Problem, width: int, seeds: Sequence[int], limit: _Limit) -> WidthRow:
    """Return how far networks of a width are from their limit, before training and after it."""
    networks = [problem.network(width, seed) for seed in seeds]
    everything, n, some = torch.cat([problem.x, problem.others]), len(problem.x), slice(KERNEL_ROWS)
    tangents = [EmpiricalNTK(network).matrix(everything) for network in networks]
    largest = max(float(torch.linalg.eigvalsh(each[:n, :n])[-1]) for each in tangents)
    steps = math.ceil(STEPS * problem.time * largest / n)
    change = descent_gain(problem.time / n, steps)
    linear = torch.stack(
        [_linearised(problem, *pair, change) for pair in zip(networks, tangents, strict=True)]
    )
    trained = _trained(problem, networks, steps)
    covariances = [problem.covariance(width, seed) for seed in seeds]
    return WidthRow(
        width=width,
        nngp_errors=np.array([_error(each, limit.kernels[0]) for each in covariances]),
        ntk_errors=np.array([_error(each[:n, :n][some, some], limit.kernels[1]) for each in tangents]),
        to_linearised=_distance(trained, linear),
        linearised_to_limit=_distance(linear.mean(0), limit.mean),
        ensemble_to_limit=_distance(trained.mean(0), limit.mean),
        single=Predictions.mean([problem.judged(each, torch.zeros_like(each)) for each in trained]),
        ensemble=problem.judged(trained.mean(0), trained.var(0)),
    )


def descent_gain(rate: float, steps: int) -> Gain:
    r"""Return what so many steps of gradient descent have made of errors, as a function of eigenvalues.

    .. math:: g(\lambda) = \frac{1 - (1 - r \lambda / k)^k}{\lambda}, \quad g(0) = r.

    Args:
        rate: :math:`r`, the time over the number of rows.
        steps: :math:`k`.

    Examples:
        >>> descent_gain(2.0, 4)(torch.tensor([0.0, 1.0]))
        tensor([2.0000, 0.9375])
    """

    def applied(values: Tensor) -> Tensor:
        is_zero = values == 0.0
        left = 1.0 - (1.0 - rate * values / steps) ** steps
        return torch.where(is_zero, rate, left / torch.where(is_zero, 1.0, values))

    return applied


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def _distance(one: Tensor, other: Tensor) -> float:
    """Return the root mean square of differences, in standard deviations of the outputs."""
    return float((one - other).square().mean().sqrt())


@torch.no_grad()
def _linearised(problem: _Problem, network: FiniteNetwork, tangent: Tensor, change: Gain) -> Tensor:
    """Return what a network to first order in its weights predicts after training."""
    n = len(problem.x)
    before, start = network(problem.x)[:, 0], network(problem.others)[:, 0]
    pulled = Eigenvectors.of(tangent[:n, :n], change) @ tangent[:n, n:]
    found: Tensor = start + pulled.mT @ (problem.y - before)
    return found


def _trained(problem: _Problem, networks: Sequence[FiniteNetwork], steps: int) -> Tensor:
    """Return what networks predict after so many steps of gradient descent, ``(seeds, m)``."""
    members = Members([_on_scaled_rows(network) for network in networks])
    center, spread = networks[0].get_buffer("center"), networks[0].get_buffer("spread")
    x, others = (((rows - center) / spread).float() for rows in (problem.x, problem.others))
    y = problem.y.float()
    optimizer = torch.optim.SGD(members.stacked, lr=problem.time / steps)
    first: Tensor | None = None
    for step in range(steps + 1):
        optimizer.zero_grad()
        losses = (members(x)[..., 0] - y).square().mean(1) / 2.0
        first = losses.detach() if first is None else first
        if not bool((losses.detach() <= EXPLODED * first).all()):
            raise ConvergenceError(
                f"gradient descent of networks of {networks[0].weights[0].shape[1]} units explodes: their "
                "tangent kernel grows in training; expected larger widths, or fewer steps"
            )
        if step < steps:
            losses.sum().backward()
            optimizer.step()
    return members.outputs(others)[..., 0]


def _on_scaled_rows(network: FiniteNetwork) -> FiniteNetwork:
    """Return a network in float32 for rows that are scaled already: raw ones would lose their digits."""
    found = copy.deepcopy(network)
    for name, usual in (("center", 0.0), ("spread", 1.0)):
        found.get_buffer(name).fill_(usual)
    return found.float()


def _problem(
    arch: str | Sequential | InfiniteNetwork, X: Any, y: Any, rng: np.random.RandomState, steps: int
) -> _Problem:
    """Return the parts of the data, and the limit's kernel at their scale."""
    x = check_table(BaseEstimator(), X, reset=True)
    outputs = check_outputs(y, len(x)).reshape(len(x), -1)
    if outputs.shape[1] != 1:
        raise InputError(f"compare_widths takes one output, got {outputs.shape[1]}: compare them one by one")
    outputs = outputs[:, 0]
    if len(x) < FEWEST_ROWS:
        raise InputError(f"compare_widths needs {FEWEST_ROWS} rows or more, in three parts, got {len(x)}")
    order, part = rng.permutation(len(x)), int(TEST * len(x))
    cuts = np.split(order, [part, 2 * part])
    new, held, rows = (torch.from_numpy(each[:MOST_ROWS].copy()) for each in cuts)
    table, all_y = torch.from_numpy(x), torch.from_numpy(outputs)
    seen = all_y[rows]
    if not float(seen.std()) > 0.0:
        raise InputError(
            f"y is {float(seen[0]):g} in all rows that are trained on: there is nothing to learn"
        )
    scaled = (all_y - seen.mean()) / seen.std()
    kernel = _kernel(arch, table[rows])
    with torch.no_grad():
        tangent = kernel.matrix(table[rows])
    if not bool(torch.isfinite(tangent).all()):
        raise InputError(
            f"the tangent kernel of {kernel.layers!r} is not finite at these rows: its numbers grow from "
            "layer to layer; expected fewer layers, or an activation such as 'erf'"
        )
    largest = float(torch.linalg.eigvalsh(tangent)[-1])
    return _Problem(
        kernel=kernel,
        x=table[rows],
        y=scaled[rows],
        held=table[held],
        held_y=scaled[held],
        new=table[new],
        new_y=scaled[new],
        time=steps * len(rows) / largest,
    )


def _kernel(arch: str | Sequential | InfiniteNetwork, x: Tensor) -> InfiniteNetwork:
    """Return the tangent kernel of an architecture; one whose scales are open takes those of the rows."""
    if isinstance(arch, InfiniteNetwork):
        kernel = copy.deepcopy(arch).set_params(kind="ntk")
    else:
        kernel = InfiniteNetwork(arch, "ntk")
    if kernel.active_dims is not None:
        raise InputError(
            "compare_widths takes all columns, got a kernel with active_dims: leave that out, and pass the "
            "columns that count"
        )
    spread = x.std(0)
    scales = {"center": x.mean(0), "spread": torch.where(spread > 0.0, spread, 1.0)}
    for name in kernel.unset & set(scales):
        setattr(kernel, name, scales[name].tolist())
    kernel.check_columns(x.shape[1])
    kernel.requires_grad_(False)
    return kernel


def _check_widths(widths: Any) -> list[int]:
    if not isinstance(widths, Sequence | np.ndarray) or isinstance(widths, str):
        raise InputError(f"widths must be several numbers of units, such as (32, 128), got {widths!r}")
    for width in widths:
        check_count(width, "each of widths", least=1)
    numbers = sorted({int(width) for width in widths})
    if len(numbers) < 2:
        raise InputError(f"widths must be two different numbers of units or more, got {widths!r}")
    return numbers
