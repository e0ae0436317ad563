r"""Training of several networks at once by stochastic gradients, at a rate that suits their loss.

Each member has weights, an order of the rows and a loss of its own, so that it ends where it would alone.
The learning rate starts from the largest curvature :math:`\lambda` of the loss: gradient descent with
momentum :math:`\beta` does not swing up while

.. math:: \eta < 2 (1 + \beta) / \lambda.

Source: Polyak (1964), Some methods of speeding up the convergence of iteration methods, USSR Comput. Math.
4(5), 1-17; LeCun, Simard and Pearlmutter (1993), Automatic learning rate maximization by on-line estimation
of the Hessian's eigenvectors, NeurIPS. The schedule: Izmailov, Podoprikhin, Garipov, Vetrov and Wilson
(2018), Averaging weights leads to wider optima and better generalization, UAI, section 4. Rates of layers:
Yang and Hu (2021), Tensor programs IV, ICML; Yang et al. (2021), Tensor programs V, table 8.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from nonparam.errors import ConvergenceError, InputError
from nonparam.networks.members import Members
from nonparam.progress import Tally
from nonparam.solvers.lanczos import extreme_eigenvalues

__all__ = ["Average", "NetworkReport", "Recipe", "Rows", "auto_rate", "rate_factors", "train"]

Loss = Callable[[Tensor, Tensor], Tensor]  # of outputs (m, b, t) and targets (m, b, ...): (m,), means of rows

MOMENTUM = 0.9
SAFETY = 0.25  # of the largest stable rate: curvature grows in training, and batches have more than all rows
CURVATURE_ROWS, CURVATURE_STEPS = 500, 30
ADAM_STEP = 0.25  # by how much one step may change the numbers of a layer, in units of those before it
FLAT, LAST = 0.5, 0.01  # the part of the epochs with the whole rate, and what is left of it at the end
AVERAGED = 0.4  # the last part of the epochs, whose weights are averaged, at the whole rate
EXPLODED = 2.0  # times the loss at the start
LOWERED, RETRIES = 0.25, 20  # the rate, after an explosion
DEATHS = 3  # retries of networks all of whose units died: with very few units that happens at any rate
ALIVE_ROWS = 1000
NOT_FINITE = (
    "are not finite before its training: expected an activation that is finite, and does not grow as fast as "
    "powers or exponentials; try 'relu' or 'erf'"
)
SETTLED = 0.01  # of the fall of the loss since the start: what a network that has converged still gains
TENTH = 10
FEWEST_TO_TELL = 5  # epochs: with fewer nobody knows whether the loss has settled


class Average(Protocol):
    """What collects weights in the last epochs."""

    def collect(self, members: Members) -> None:
        """Take the weights at the end of an epoch into account."""


A = TypeVar("A", bound=Average | None)


@dataclass(frozen=True)
class Rows:
    """What networks are trained on.

    Attributes:
        x: ``(n, d)``.
        y: ``(n, ...)``, what the loss compares outputs with.
        used: ``(m, r)``, the numbers of the rows that each member sees.
        seeds: of the order of the rows, one for each member.
    """

    x: Tensor
    y: Tensor
    used: Tensor
    seeds: Sequence[int]


@dataclass(frozen=True)
class Recipe:
    """How networks are trained.

    Attributes:
        epochs: passes over the rows.
        batch_size: rows of a step; ``None`` for all.
        optimizer: ``"sgd"``, with momentum 0.9, or ``"adam"``.
        lr: the learning rate.
        weight_decay: half of it, times the sum of squared weights, is added to the mean loss of the rows.
        factors: of the learning rate, one for each parameter.
        averaged: whether the rate stays as it is, and the weights of the last part are averaged.
    """

    epochs: int
    batch_size: int | None
    optimizer: str
    lr: float
    weight_decay: float
    factors: Sequence[float]
    averaged: bool = False

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, in units of the first one's.

        Examples:
            >>> recipe = Recipe(9, 50, "sgd", 0.1, 0.0, [1.0])
            >>> [round(recipe.rate(epoch), 2) for epoch in (0, 4, 6, 8)]
            [1.0, 1.0, 0.51, 0.01]
        """
        if self.averaged:
            return 1.0
        passed = epoch / max(self.epochs - 1, 1)
        return 1.0 - (1.0 - LAST) * max(passed - FLAT, 0.0) / (1.0 - FLAT)

    def averages(self, epoch: int) -> bool:
        """Return whether the weights at the end of this epoch are averaged."""
        return self.averaged and epoch >= min(math.ceil((1.0 - AVERAGED) * self.epochs), self.epochs - 1)

    def make(self, members: Members, lr: float) -> torch.optim.Optimizer:
        """Return an optimiser of the members at a learning rate."""
        groups = [
            {"params": [value], "lr": lr * factor}
            for value, factor in zip(members.stacked, self.factors, strict=True)
        ]
        if self.optimizer == "adam":
            return torch.optim.Adam(groups, weight_decay=self.weight_decay)
        return torch.optim.SGD(groups, momentum=MOMENTUM, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class NetworkReport:
    """What the training of networks did.

    Attributes:
        members: networks.
        parameters: of each.
        epochs: passes over the rows.
        lr: the learning rate of the first epoch.
        retries: how often training started again at a quarter of the rate, because the loss exploded or all
            units died.
        losses: the mean loss of each epoch, over rows and members.
        converged: whether the last tenth of the epochs gained hardly anything.
        seconds: wall-clock time.

    Examples:
        >>> print(NetworkReport(5, 321, 40, 0.1, 1, (2.0, 0.5), True, 1.5))
        5 network(s) of 321 parameters: 40 epochs in 1.5 s, learning rate 0.1 after 1 retries
        converged: loss 2 in the first epoch, 0.5 in the last
    """

    members: int
    parameters: int
    epochs: int
    lr: float
    retries: int
    losses: tuple[float, ...]
    converged: bool
    seconds: float

    def __str__(self) -> str:
        """Return the report as two lines."""
        return (
            f"{self.members} network(s) of {self.parameters:,} parameters: {self.epochs} epochs in "
            f"{self.seconds:.3g} s, learning rate {self.lr:.3g} after {self.retries} retries\n"
            f"{'converged' if self.converged else 'NOT CONVERGED'}: loss {self.losses[0]:.4g} in the first "
            f"epoch, {self.losses[-1]:.4g} in the last"
        )


def train(
    members: Members,
    rows: Rows,
    loss: Loss,
    recipe: Recipe,
    average: Callable[[Members], A],
    tally: Tally,
) -> tuple[NetworkReport, A]:
    """Train networks in place.

    Args:
        members: at their start.
        rows: of the data.
        loss: to be minimised.
        recipe: how.
        average: makes what collects weights in the last epochs, or ``None``; asked anew after an explosion.
        tally: is told of each epoch.

    Returns:
        The report, and what collected the weights.

    Raises:
        InputError: a loss that is not finite before the first step.
        ConvergenceError: a loss that explodes at any rate.
    """
    began, start = time.perf_counter(), members.flat()
    run = _Run(members, rows, loss, recipe, _loss_at_start(members, rows, loss))
    told = deaths = 0
    for retries in range(RETRIES + 1):
        members.assign(start)
        collected, losses = average(members), list[float]()
        for each in run.epochs(recipe.lr * LOWERED**retries, collected):
            losses.append(each)
            if len(losses) > told:
                told += 1
                tally.add(1, f"loss {each:.3g}" + f", rate lowered {retries} times" * bool(retries))
        if len(losses) < recipe.epochs:
            continue
        if deaths < DEATHS and _died(members, start, rows.x):
            deaths += 1
            continue
        report = NetworkReport(
            members=members.count,
            parameters=members.size,
            epochs=recipe.epochs,
            lr=recipe.lr * LOWERED**retries,
            retries=retries,
            losses=tuple(losses),
            converged=_converged(losses, float(run.first.mean())),
            seconds=time.perf_counter() - began,
        )
        return report, collected
    raise ConvergenceError(
        f"the loss explodes also at a learning rate of {recipe.lr * LOWERED**RETRIES:.1e}: expected one that "
        "falls; try lr='auto', or a bounded activation such as 'erf'"
    )


@dataclass(frozen=True)
class _Run:
    """The training of networks at several rates; ``first (m,)`` are the losses before it."""

    members: Members
    rows: Rows
    loss: Loss
    recipe: Recipe
    first: Tensor

    def epochs(self, lr: float, average: Average | None) -> Iterator[float]:
        """Train until the last epoch, or until a loss explodes, and yield the mean loss of each epoch."""
        optimizer = self.recipe.make(self.members, lr)
        rates = [group["lr"] for group in optimizer.param_groups]
        generators = [torch.Generator().manual_seed(seed) for seed in self.rows.seeds]
        for epoch in range(self.recipe.epochs):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * self.recipe.rate(epoch)
            losses = self._epoch(optimizer, generators)
            if not bool((losses <= EXPLODED * self.first).all()):
                return
            if average is not None and self.recipe.averages(epoch):
                average.collect(self.members)
            yield float(losses.mean())

    def _epoch(self, optimizer: torch.optim.Optimizer, generators: Sequence[torch.Generator]) -> Tensor:
        """Pass over the rows once, each member in its own order; return the mean losses, ``(m,)``."""
        rows, used = self.rows, self.rows.used
        r = used.shape[1]
        steps = max(round(r / self.recipe.batch_size), 1) if self.recipe.batch_size else 1
        total = torch.zeros_like(self.first)
        order = torch.stack([torch.randperm(r, generator=each) for each in generators]).to(used.device)
        for batch in used.gather(1, order).tensor_split(steps, 1):
            optimizer.zero_grad()
            losses = self.loss(self.members(rows.x[batch]), rows.y[batch])
            losses.sum().backward()
            optimizer.step()
            total += losses.detach() * (batch.shape[1] / r)
        return total


def _loss_at_start(members: Members, rows: Rows, loss: Loss) -> Tensor:
    """Return the loss of all rows, ``(m,)``."""
    outputs = members.outputs(rows.x)
    if not bool(outputs.isfinite().all()):
        raise InputError(f"a network gives values that {NOT_FINITE}")
    return loss(outputs, rows.y.expand(members.count, *rows.y.shape)).to(rows.x)


def _died(members: Members, start: Tensor, x: Tensor) -> bool:
    """Return whether a network gives all rows the same numbers, and did not before its training."""
    some = x[:ALIVE_ROWS]
    now, before = (
        (f == f[:, :1]).all(1).all(1) for f in (members.outputs(some), members.outputs(some, start))
    )
    return bool((now & ~before).any())


def _converged(losses: Sequence[float], first: float) -> bool:
    if len(losses) < FEWEST_TO_TELL:
        return False
    part = max(len(losses) // TENTH, 1)
    before, last = losses[-2 * part : -part] or [first], losses[-part:]
    gained = sum(before) / len(before) - sum(last) / len(last)
    return gained <= SETTLED * max(first - losses[-1], 0.0)


def rate_factors(members: Members, parameterization: str, optimizer: str) -> list[float]:
    r"""Return by what the learning rate of each parameter is multiplied.

    All are 1 but for ``"mup"``, where every layer shall change its numbers as much at any width :math:`m`.
    With stochastic gradients only biases, which have no factor of their own, need :math:`m`. Adam takes steps
    of one size: the rates are :math:`1 / (d \sqrt m)` for weights of the first layer with :math:`d` inputs,
    :math:`1 / m` of those between, :math:`1 / \sqrt m` of the last.

    Args:
        members: dense networks.
        parameterization: see `nonparam.networks.FiniteNetwork`.
        optimizer: ``"sgd"`` or ``"adam"``.

    Source: Yang and Hu (2021), Tensor programs IV, ICML, table 1; Yang et al. (2021), Tensor programs V,
    table 8.
    """
    if parameterization != "mup":
        return [1.0] * len(members.names)
    last = sum(name.startswith("weights") for name in members.names) - 1
    factors = []
    for name, value in zip(members.names, members.stacked, strict=True):
        layer = int(name.rpartition(".")[2])
        before, after = value.shape[-2], value.shape[-1]
        if name.startswith("biases"):
            factors.append(1.0 if layer == last or optimizer == "adam" else float(after))
        elif optimizer == "sgd":
            factors.append(1.0)
        else:
            own = {0: math.sqrt(after), last: 1.0 / math.sqrt(before)}.get(layer, 1.0)
            factors.append(1.0 / (before * own))
    return factors


def auto_rate(members: Members, rows: Rows, loss: Loss, parameterization: str, recipe: Recipe) -> float:
    """Return a learning rate that suits networks at their start.

    Args:
        members: at their start.
        rows: of the data, of which the first few hundred are looked at.
        loss: to be minimised.
        parameterization: see `nonparam.networks.FiniteNetwork`.
        recipe: all but the rate.

    Raises:
        InputError: a network whose values or slopes are not finite.
    """
    _loss_at_start(members, rows, loss)
    if recipe.optimizer == "adam":
        widest = max(value.shape[-2] for value in members.stacked if value.ndim == 3)
        power: float = {"standard": 1.0, "ntk": 0.5, "mup": 0.0}[parameterization]
        return float(ADAM_STEP / widest**power)
    curvature = _Curvature(members, rows, loss, recipe)
    generator = torch.Generator().manual_seed(rows.seeds[0])
    start = torch.randn(members.count * members.size, 1, generator=generator).to(rows.x)
    try:
        ends = extreme_eigenvalues(curvature, start, tolerance=0.1, max_steps=CURVATURE_STEPS)
    except ConvergenceError as error:
        raise InputError(f"a network has slopes that {NOT_FINITE}") from error
    largest: float = max(abs(ends.smallest), abs(ends.largest))
    return SAFETY * 2.0 * (1.0 + MOMENTUM) / largest if largest > 0.0 else 1.0


class _Curvature:
    """The Hessian of the members' losses: ``S H S``, with the square roots of the rates' factors in ``S``."""

    def __init__(self, members: Members, rows: Rows, loss: Loss, recipe: Recipe) -> None:
        used = rows.used[:, :CURVATURE_ROWS]
        self._values = list(members.stacked)
        self._roots = [math.sqrt(factor) for factor in recipe.factors]
        total = loss(members(rows.x[used]), rows.y[used]).sum()
        self._slopes = torch.autograd.grad(total, self._values, create_graph=True, materialize_grads=True)

    def _product(self, v: list[Tensor]) -> Sequence[Tensor]:
        """Return the Hessian's product; steps have slopes that do not depend on the values before them."""
        pairs = [(slope, one) for slope, one in zip(self._slopes, v, strict=True) if slope.requires_grad]
        if not pairs:
            return [torch.zeros_like(value) for value in self._values]
        slopes, ones = zip(*pairs, strict=True)
        return torch.autograd.grad(slopes, self._values, ones, retain_graph=True, materialize_grads=True)

    def __matmul__(self, v: Tensor) -> Tensor:
        """Return the product with ``v (n, 1)``."""
        parts = v[:, 0].split([value.numel() for value in self._values])
        scaled = [
            part.reshape(value.shape) * root
            for part, value, root in zip(parts, self._values, self._roots, strict=True)
        ]
        with torch.enable_grad():
            found = self._product(scaled)
        flat = [each.reshape(-1) * root for each, root in zip(found, self._roots, strict=True)]
        return torch.cat(flat)[:, None]
