r"""Training of a deep kernel by the likelihood of random subsets of the rows.

The marginal likelihood of a kernel with thousands of weights is no guide: it is as happy with features that
draw the rows together as with features that predict. What predicts is asked for instead: the conditional
likelihood of some rows given others,

.. math:: \log p(y_T \mid y_C, w) = \log p(y_C, y_T \mid w) - \log p(y_C \mid w),

of subsets drawn anew at each step. Every few steps, rows that no step sees are predicted; the weights that
do best there are kept, and training ends when they have been the best for long. Where rows are few, each is
held out once: a handful cannot tell how wrong a network may be. All rows then train a last network, for the
number of steps that was best for all held-out rows together; its noise is raised by as much as these ask for
beyond what they ask for without a network.

Source: Lotfi, Izmailov, Benton, Goldblum and Wilson (2022), Bayesian model selection, the marginal
likelihood, and generalization, ICML, section 4; the overfitting: Ober, Rasmussen and van der Wilk (2021), The
promises and pitfalls of deep kernel learning, UAI.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gpytorch
import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.autograd.function import once_differentiable

from nonparam.errors import NotPositiveDefiniteError
from nonparam.kernels.evaluate import covariance
from nonparam.model_selection.evidence import evidence
from nonparam.objective import Data
from nonparam.posterior import condition
from nonparam.progress import Progress

__all__ = ["CONTEXT", "FOLDS", "Learnt", "State", "Training", "learn", "log_likelihood"]

SUBSET = 512  # rows of a step: a factorisation of a few milliseconds
TARGETS = 0.25  # of a subset: rows that are predicted from the rest
CONTEXT = 2000  # rows from which held-out ones are predicted
FOLDS = 4  # of up to `CONTEXT` rows
HELD_OUT, MOST_HELD_OUT = 0.1, 1000  # of more rows
LOOK = 20  # steps between two looks at the held-out rows
PATIENCE = 10  # looks without a better one
WARM_UP = 20  # steps in which the rates rise
WEIGHT_RATE, HYPERPARAMETER_RATE = 1e-3, 5e-3
LEAST_NOISE = 1e-6  # variance: below it rounding is what is learnt
FINE = 0.02  # of the logarithm of a noise's factor
SURE = 1.0  # standard errors of a gain that is not chance
LEAST_GAIN = 0.005  # nats per row: less is not worth a network
LONGEST = 10.0  # of a gradient: one bad subset must not throw the weights far


@dataclass(frozen=True)
class Split:
    """Which rows train the features, and which only judge them.

    Attributes:
        training: numbers of rows, in random order.
        held_out: the others.
    """

    training: Tensor
    held_out: Tensor

    @property
    def context(self) -> Tensor:
        """The training rows from which held-out ones are predicted."""
        return self.training[:CONTEXT]


def split_rows(n: int, generator: torch.Generator) -> tuple[Split, ...]:
    """Hold out each of up to 2,000 rows once, in four parts; a tenth of more rows, at most 1,000, once.

    Examples:
        >>> [len(split.held_out) for split in split_rows(1000, torch.Generator().manual_seed(0))]
        [250, 250, 250, 250]
        >>> [len(split.held_out) for split in split_rows(5000, torch.Generator().manual_seed(0))]
        [500]
    """
    order = torch.randperm(n, generator=generator)
    if n > CONTEXT:
        few = min(int(HELD_OUT * n), MOST_HELD_OUT)
        return (Split(order[few:], order[:few]),)
    parts = order.tensor_split(FOLDS)
    return tuple(Split(torch.cat([*parts[:i], *parts[i + 1 :]]), part) for i, part in enumerate(parts))


@dataclass
class State:
    """A kernel and the noise beside it, while they are trained.

    Attributes:
        kernel: a `DeepKernel`, where there is something to train.
        log_noise: ``()``, of its variance; without a gradient where the noise is known.
    """

    kernel: gpytorch.kernels.Kernel
    log_noise: Tensor

    @property
    def noise(self) -> float:
        """The variance of the noise."""
        return float(self.log_noise.detach().exp())


@dataclass(frozen=True)
class Training:
    """What training found.

    Attributes:
        state: the best weights and hyperparameters.
        score: of them, in nats per row and output.
        scores: at each look.
        looks: what the scores are means of: of each held-out row, or of all of the context.
        steps: after which the best were found.
        message: why it ended.
    """

    state: State
    score: float
    scores: tuple[float, ...]
    looks: tuple[Tensor, ...]
    steps: int
    message: str


@dataclass(frozen=True)
class Learnt:
    """A network, and what rows that did not train it say of it.

    Attributes:
        training: of the network that is to be used: with few rows on all of them, its scores those of
            networks that did not see some, and its noise what these rows ask for.
        before: the log densities of held-out rows, in nats, by networks that move nothing yet, ``(m,)``.
        after: the same at the look that is best for all of them together.
        held_out: the same of the best networks, with the noise that held-out rows ask for.
        context: numbers of rows that trained.
    """

    training: Training
    before: Tensor
    after: Tensor
    held_out: Tensor
    context: Tensor

    @property
    def pays(self) -> bool:
        """Whether held-out rows are predicted better by a network, beyond chance."""
        gain = self.after - self.before
        return bool(gain.mean() > max(SURE * float(gain.std()) / len(gain) ** 0.5, LEAST_GAIN))


class _LogLikelihood(torch.autograd.Function):
    """The log marginal likelihood of outputs with a given covariance, and its derivative in that."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, y: Tensor) -> Tensor:
        found = evidence(a.detach().clone(), y, y[:, :0], gradient=True)
        assert found.gradient is not None
        ctx.save_for_backward(found.gradient.triu_())
        return a.new_tensor(found.value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return grad * slope, None


def log_likelihood(state: State, data: Data, objective: str) -> Tensor:
    """Return what training maximises on a subset, in nats per row and output.

    Args:
        state: where training stands.
        data: the subset, in random order.
        objective: ``"lml"``, or ``"clml"`` for that of the last rows given the others.
    """
    n, t = data.y.shape
    a = covariance(state.kernel, data.x)
    a = a + torch.diag(data.noise_variances(1.0) * (state.log_noise.exp() if data.noise is None else 1.0))
    total: Tensor = _LogLikelihood.apply(a, data.y)
    if objective == "lml":
        return total / (n * t)
    few = max(int(TARGETS * n), 1)
    rest: Tensor = _LogLikelihood.apply(a[:-few, :-few], data.y[:-few])
    return (total - rest) / (few * t)


@torch.no_grad()
def predictive_densities(state: State, data: Data, context: Tensor, rows: Tensor) -> Tensor:
    """Return the log density of each of some rows given those of the context: ``(m, t)``, in nats."""
    posterior = condition(state.kernel, data.rows(context), state.noise)
    return posterior.log_densities(data.rows(rows))


def noise_factor(states: Sequence[State], data: Data, splits: Sequence[Split]) -> float:
    """Return by how much, at least 1, the noise is multiplied where held-out rows are predicted best.

    Args:
        states: for each split, what its training rows taught.
        data: all rows.
        splits: which rows train, and which judge.
    """

    def surprise(log_factor: float) -> float:
        louder = (replace_noise(state, math.exp(log_factor) * state.noise) for state in states)
        return -float(held_out_densities(louder, data, splits).mean())

    room = -math.log(min(state.noise for state in states))
    if data.noise is not None or room <= 0.0:
        return 1.0
    found = minimize_scalar(surprise, bounds=(0.0, room), method="bounded", options={"xatol": FINE})
    return math.exp(found.x) if found.fun < surprise(0.0) else 1.0


def replace_noise(state: State, noise: float) -> State:
    """Return the same kernel beside another noise."""
    return State(state.kernel, torch.tensor(math.log(noise), dtype=state.log_noise.dtype))


def held_out_densities(states: Iterable[State], data: Data, splits: Iterable[Split]) -> Tensor:
    """Return the log densities of held-out rows, means over outputs, in nats: ``(m,)``."""
    found = [
        predictive_densities(state, data, split.context, split.held_out).mean(1)
        for state, split in zip(states, splits, strict=True)
    ]
    return torch.cat(found)


def train(
    state: State,
    data: Data,
    split: Split,
    objective: str,
    max_steps: int,
    generator: torch.Generator,
    progress: Progress,
) -> Training:
    """Move weights and hyperparameters up the likelihood of random subsets; return the best ones.

    Args:
        state: where to start; changed.
        data: all rows, outputs with mean 0.
        split: which rows train, and which judge.
        objective: what a step maximises, and what judges: with ``"clml"`` the held-out rows given some of
            the others, with ``"lml"`` the marginal likelihood of the context.
        max_steps: after which training ends at the latest.
        generator: of the subsets.
        progress: is told of every look.
    """
    best, best_step, looks = copy.deepcopy(state), 0, [_look(state, data, split, objective)]
    scores = [float(looks[0].mean())]
    message = "the greatest number of steps"
    try:
        for step in _steps(state, data, split.training, objective, max_steps, generator):
            if step % LOOK == 0:
                looks.append(_look(state, data, split, objective))
                scores.append(float(looks[-1].mean()))
                progress.step(step, scores[-1] - max(scores[:-1]))
                if scores[-1] == max(scores):
                    best, best_step = copy.deepcopy(state), step
                if step - best_step >= PATIENCE * LOOK:
                    message = f"nothing better for {step - best_step} steps"
                    break
    except KeyboardInterrupt:
        message = "interrupted: these are the best weights so far"
    except NotPositiveDefiniteError:
        message = "the covariance of a subset could not be factorised: these are the best weights so far"
    return Training(best, max(scores), tuple(scores), tuple(looks), best_step, message)


def learn(
    start: Callable[[Tensor], State],
    data: Data,
    objective: str,
    max_steps: int,
    generator: torch.Generator,
    progress: Progress,
) -> Learnt:
    """Train while some rows are held out, and with few rows again on all of them.

    Args:
        start: returns a network that moves nothing, and hyperparameters that suit given rows.
        data: all rows, outputs with mean 0.
        objective: see `train`.
        max_steps: see `train`.
        generator: of weights, parts and subsets.
        progress: is told of every look.
    """
    splits = split_rows(len(data.x), generator)
    splits = splits if objective == "clml" else splits[:1]  # else held-out rows choose nothing
    starts = [start(split.training) for split in splits]
    found = [
        train(copy.deepcopy(begin), data, split, objective, max_steps, generator, progress)
        for begin, split in zip(starts, splits, strict=True)
    ]
    looks = [torch.cat(same) for same in zip(*(each.looks for each in found), strict=False)]
    scores = tuple(float(look.mean()) for look in looks)
    best = int(np.argmax(scores))
    states = [each.state for each in found]
    factor = max(noise_factor(states, data, splits) / noise_factor(starts, data, splits), 1.0)
    states = [replace_noise(state, factor * state.noise) for state in states]
    held_out = held_out_densities(states, data, splits)
    training = replace(found[0], state=states[0])
    if len(splits) > 1:
        whole = start(torch.arange(len(data.x)))
        state = follow(whole, data, objective, best * LOOK, max_steps, generator)
        message = "; ".join(dict.fromkeys(each.message for each in found))
        state = replace_noise(state, factor * state.noise)
        training = Training(state, scores[best], scores, tuple(looks), best * LOOK, message)
    return Learnt(training, looks[0], looks[best], held_out, splits[0].context)


def follow(
    state: State, data: Data, objective: str, last: int, max_steps: int, generator: torch.Generator
) -> State:
    """Return where a given number of steps on all rows leads.

    An interruption, or a covariance that cannot be factorised, leaves the weights of the last look.
    """
    good = copy.deepcopy(state)
    if last == 0:
        return good
    try:
        for step in _steps(state, data, torch.arange(len(data.x)), objective, max_steps, generator):
            if step % LOOK == 0:
                good = copy.deepcopy(state)
            if step == last:
                break
    except (KeyboardInterrupt, NotPositiveDefiniteError):
        pass
    return good


def _steps(
    state: State, data: Data, rows: Tensor, objective: str, max_steps: int, generator: torch.Generator
) -> Iterator[int]:
    """Change the state by one step of Adam after the other; yield their numbers."""
    optimiser = _optimiser(state)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, max_steps))
    for step in range(1, max_steps + 1):
        _step(state, data.rows(_drawn(rows, generator)), objective, optimiser)
        schedule.step()
        yield step


def _optimiser(state: State) -> torch.optim.Optimizer:
    weights = list(state.kernel.feature_extractor.parameters())
    rest = [p for p in state.kernel.base_kernel.parameters() if p.requires_grad]
    rest += [state.log_noise] if state.log_noise.requires_grad else []
    groups = [{"params": weights, "lr": WEIGHT_RATE}, {"params": rest, "lr": HYPERPARAMETER_RATE}]
    return torch.optim.Adam(groups)


def _rate(step: int, max_steps: int) -> float:
    """Return the factor of the rates: a short rise, then half a cosine."""
    return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1.0 + math.cos(math.pi * step / max_steps))


def _drawn(rows: Tensor, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)[:SUBSET]]


def _step(state: State, data: Data, objective: str, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    (-log_likelihood(state, data, objective)).backward()
    for group in optimiser.param_groups:
        torch.nn.utils.clip_grad_norm_(group["params"], LONGEST)
    optimiser.step()
    with torch.no_grad():
        state.log_noise.clamp_(min=math.log(LEAST_NOISE))


def _look(state: State, data: Data, split: Split, objective: str) -> Tensor:
    if objective == "clml":
        return predictive_densities(state, data, split.context, split.held_out).mean(1)
    with torch.no_grad():
        return log_likelihood(state, data.rows(split.context), "lml")[None]
