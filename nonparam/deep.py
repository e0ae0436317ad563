"""Regression with a deep kernel, behind the same `fit` and `predict`."""

import copy
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import gpytorch
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from nonparam.deep_features import ResidualFeatures
from nonparam.deep_training import CONTEXT, FOLDS, Learnt, State, learn, log_likelihood
from nonparam.errors import InputError
from nonparam.fitting import Fitted, Search
from nonparam.kernels import DeepKernel, spectral_mixture, with_amplitude
from nonparam.kernels.base import Kernel
from nonparam.kernels.evaluate import covariance, variance
from nonparam.kernels.grammar import as_kernel
from nonparam.means import Mean
from nonparam.objective import Data, Objective
from nonparam.posterior import condition
from nonparam.progress import Progress
from nonparam.regression import GPRegressor
from nonparam.scales import CONSTANT, measure
from nonparam.solvers.plan import Plan
from nonparam.threads import threads_for
from nonparam.training import FitReport
from nonparam.validation import (
    check_count,
    check_noise,
    check_outputs,
    check_seed,
    check_table,
    check_weights,
)

__all__ = ["Collapse", "DeepKernelRegressor"]

Array = NDArray[np.float64]

START_ROWS = 1000  # from which hyperparameters start
COMPONENTS = 4  # of a spectral mixture of features
FEWEST = FOLDS  # different rows: one in each part that is held out
ALIKE = 0.95  # correlation of two rows in the middle of all pairs, from which on features have collapsed
FARTHEST = 10.0  # standard deviations: a column with a wider lengthscale hardly matters
KEPT = "the hyperparameters that were trained with the features"
PAIRED = 500  # rows whose pairs are looked at


@dataclass(frozen=True)
class Collapse:
    """What tells whether features learnt the rows instead of what makes them alike.

    Attributes:
        correlation: of the function at two training rows, the median over pairs.
        log_marginal_likelihood: of the training rows in `Split.context`, in nats per row and output: an
            average of log densities of rows given fewer rows than held-out ones are given.
        held_out: the log density of held-out rows given the same rows, in nats per row and output.
        standard_error: of it; infinite where it is of a single row.
    """

    correlation: float
    log_marginal_likelihood: float
    held_out: float
    standard_error: float

    @property
    def overfitted(self) -> bool:
        """Whether rows that were not trained on are predicted worse than those that were."""
        return self.held_out < self.log_marginal_likelihood - 2.0 * self.standard_error

    @property
    def collapsed(self) -> bool:
        """Whether nearly all rows look alike to the kernel."""
        return self.correlation > ALIKE


class DeepKernelRegressor(GPRegressor):
    r"""A Gaussian process on columns that a network moves to where the kernel suits them.

    .. math:: k(x, x') = k_0(z(x), z(x')), \quad z(x) = \tilde x + s \circ A \tanh g_w(\tilde x)

    Training starts at the kernel of the columns, :math:`A = 0`, as fitted to some of the rows. The network
    follows the conditional likelihood of random subsets, and stops when rows that it never saw are predicted
    no better. Where that is no better than the kernel of the columns does, beyond chance, that kernel is the
    model. The features are then fixed, each a function of one row, and a Gaussian process of all rows
    follows, by whatever solver suits them.

    Up to 2,000 rows are held out once each, from four networks; a fifth is trained on all of them for as long
    as was best for the four. Its hyperparameters stay, and its noise is raised by what held-out rows ask for
    beyond what they ask for without features: features know the rows that they were trained on, and the
    marginal likelihood of few rows would find too little noise. Equal rows count as one that has their
    weights: none trains the network and judges it.

    Args:
        hidden: the widths of the network's layers; the last one is the number of learnt features.
        base: the kernel of the moved columns: a formula such as ``"matern52"``, ``"spectral"`` for a mixture
            of four, or a kernel of `nonparam.kernels`.
        objective: what trains the network: ``"clml"``, the conditional likelihood of some rows given others,
            or ``"lml"``, the marginal likelihood, which can collapse; then a warning says so.
        max_steps: of the network's training, each on 512 rows.
        mean: as for `GPRegressor`; the network trains on what it leaves of all rows by least squares.
        noise: as for `GPRegressor`, as all that follow.
        solver: see there.
        n_restarts: see there.
        priors: see there.
        normalize_y: see there.
        device: see there.
        random_state: of the weights, the subsets and the restarts.
        verbose: see there.
        checkpoint: see there; of the last fit, of all rows.
        checkpoint_minutes: see there.

    Attributes:
        training_: how the network was trained; not in saved files, as the next.
        collapse_: what tells whether the features learnt the rows instead of what makes them alike.

    Raises:
        InputError: data or arguments that no model can be fitted to, such as fewer than 4 different rows.

    Source: Wilson, Hu, Salakhutdinov and Xing (2016), Deep kernel learning, AISTATS; the objective: see
    `nonparam.deep_training`.

    Examples:
        >>> X = np.linspace(-2.0, 2.0, 80)[:, None]
        >>> model = DeepKernelRegressor((8, 1), max_steps=20, random_state=0).fit(X, np.sign(X[:, 0]))
        >>> model.predict([[-1.0], [1.0]]).round(1)
        array([-1.,  1.])
    """

    objectives: ClassVar[tuple[str, ...]] = ("lml", "clml")

    def __init__(
        self,
        hidden: Sequence[int] = (64, 32, 2),
        *,
        base: str | gpytorch.kernels.Kernel = "matern52",
        objective: str = "clml",
        max_steps: int = 1000,
        mean: Literal["zero", "constant", "linear"] = "constant",
        noise: float | ArrayLike | Literal["learn"] = "learn",
        solver: str = "auto",
        n_restarts: int = 0,
        priors: Literal["default"] | None = "default",
        normalize_y: bool = True,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_minutes: float = 5.0,
    ) -> None:
        super().__init__(
            mean=mean,
            noise=noise,
            solver=solver,
            objective=objective,
            n_restarts=n_restarts,
            priors=priors,
            normalize_y=normalize_y,
            device=device,
            random_state=random_state,
            verbose=verbose,
            checkpoint=checkpoint,
            checkpoint_minutes=checkpoint_minutes,
        )
        self.hidden = hidden
        self.base = base
        self.max_steps = max_steps

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Learn the features, then the hyperparameters, and condition on the data; see `GPRegressor.fit`.

        A ``ConvergenceWarning`` says that the features have collapsed or learnt the rows.
        """
        self._check_arguments()
        data = self._standardised(X, y, sample_weight)
        rng = check_seed(self.random_state)
        generator = torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
        with Progress(bool(self.verbose)) as progress, threads_for(CONTEXT):
            progress.stage("features")
            found = learn(
                lambda rows: self._start(data.rows(rows), generator),
                data,
                self.objective,
                self.max_steps,
                generator,
                progress,
            )
        self.training_ = found.training
        self.collapse_ = _collapse(found, data, generator)
        kernel = self._base()
        if self.objective == "lml" or found.pays:
            self._warn()
            kernel = copy.deepcopy(found.training.state.kernel)
            kernel.feature_extractor.requires_grad_(False)
        return self._fit(kernel, X, y, sample_weight)

    @property
    def _maximised(self) -> str:
        return "lml"  # the objective is the network's

    @property
    def uses_features_(self) -> bool:
        """Whether learnt features are part of the model."""
        check_is_fitted(self)
        return isinstance(self.kernel_, DeepKernel)

    def features(self, X: Any) -> Array:
        """Return where the network moves the rows of ``X (n, d)``: ``(n, d)``, in standard deviations.

        Raises:
            InputError: the model does without learnt features.
        """
        check_is_fitted(self)
        x = check_table(self, X, reset=False)
        if not self.uses_features_:
            raise InputError("this model does without learnt features: see uses_features_")
        with torch.no_grad():
            found: Array = self.kernel_.features(torch.from_numpy(x).to(self.posterior_.data.x)).cpu().numpy()
        return found

    def _search(self, objective: Objective, plan: Plan, search: Search) -> Fitted:
        """Keep the hyperparameters of the network's training where the rows are few, else learn them anew."""
        if not isinstance(objective.theta.kernel, DeepKernel):
            return super()._search(objective, plan, search)
        kernel, data = objective.theta.kernel, objective.data
        spread = float(np.mean((self._spread / self.y_scale_) ** 2))
        _rescale(kernel, spread)
        theta = self._theta(kernel, self._scales, data)
        if theta.learns_noise:
            trained = np.log(self.training_.state.noise * spread)
            theta.start[-1] = np.clip(trained, theta.lower[-1], theta.upper[-1])
        objective = replace(objective, theta=theta)
        if len(data.x) > CONTEXT or plan.solver != "cholesky":
            return super()._search(objective, plan, search)
        return self._kept(objective, plan)

    def _kept(self, objective: Objective, plan: Plan) -> Fitted:
        theta = objective.theta
        values, slopes = objective.negative(theta.start[None], np.zeros(1, dtype=np.intp))
        value = -float(values[0])
        theta.assign(theta.start)
        noise = float(np.exp(theta.start[-1])) if theta.learns_noise else 0.0
        posterior = condition(theta.kernel, objective.data, noise)
        report = FitReport(
            plan=str(plan),
            seconds=0.0,
            converged=True,
            message=KEPT,
            steps=self.training_.steps,
            evaluations=1,
            objective=value,
            starts=(value,),
            gradient=float(np.abs(slopes).max(initial=0.0)),
            jitter=posterior.factor.jitter,
        )
        return Fitted(theta.start, posterior, report)

    def _check_arguments(self) -> None:
        super()._check_arguments()
        check_count(self.max_steps, "max_steps", least=1)
        widths = self.hidden if isinstance(self.hidden, Sequence | np.ndarray) else ()
        if isinstance(widths, str) or not len(widths):
            raise InputError(f"hidden must be the widths of one or more layers, got {self.hidden!r}")
        for width in widths:
            check_count(width, "each width in hidden", least=1)

    def _standardised(self, X: Any, y: Any, sample_weight: ArrayLike | None) -> Data:
        """Return the data, outputs without the mean in units of what it leaves, equal rows as one."""
        x = check_table(self, X, reset=True)
        outputs = check_outputs(y, len(x)).reshape(len(x), -1)
        weights, noise = check_weights(sample_weight, x), check_noise(self.noise, len(x))
        counted = weights > 0.0
        x, outputs, weights = x[counted], outputs[counted], weights[counted]
        left = self._left(x, outputs, weights)
        spread = np.sqrt(np.average(left**2, axis=0, weights=weights))
        self._spread = np.where(spread > CONSTANT * np.abs(outputs).max(0), spread, 1.0)
        unit = self._spread.mean() ** 2
        known = None if noise is None else np.broadcast_to(noise, len(counted))[counted] / unit
        data = Data(
            x=torch.from_numpy(x),
            y=torch.from_numpy((outputs if self.mean == "zero" else left) / self._spread),
            basis=torch.zeros(len(x), 0, dtype=torch.float64),
            weights=torch.from_numpy(weights),
            noise=None if known is None else torch.from_numpy(known),
        )
        data = _merged(data)
        if len(data.x) < FEWEST:
            raise InputError(
                f"a deep kernel needs {FEWEST} different rows, some to be held out; got {len(data.x)} "
                "sample(s): try GPRegressor"
            )
        return data

    def _left(self, x: Array, outputs: Array, weights: Array) -> Array:
        """Return what the mean leaves of the outputs ``(n, t)`` by least squares; never a level."""
        centred: Array = outputs - np.average(outputs, axis=0, weights=weights)
        scales = measure(x, outputs, weights, normalize_y=False, find_periods=False)
        basis = Mean.from_scales(self.mean, scales).basis(torch.from_numpy(x)).numpy()
        if basis.shape[1] < 2:
            return centred
        roots = np.sqrt(weights)[:, None]
        coefficients: Array = np.linalg.lstsq(roots * basis, roots * centred)[0]
        return centred - basis @ coefficients

    def _base(self) -> gpytorch.kernels.Kernel:
        if isinstance(self.base, str) and self.base == "spectral":
            return spectral_mixture(COMPONENTS)
        return with_amplitude(as_kernel(self.base)).double()

    def _start(self, data: Data, generator: torch.Generator) -> State:
        """Return a network that moves nothing yet, and the hyperparameters that suit the columns."""
        some = data.rows(torch.arange(min(len(data.x), START_ROWS)))
        still = ResidualFeatures(data.x, list(self.hidden), data.x.new_ones(data.x.shape[1]), generator)
        with torch.no_grad():
            columns = still(some.x).numpy()
        noise = "learn" if some.noise is None else some.noise.numpy()
        model = GPRegressor(self._base(), mean="zero", noise=noise, priors=self.priors, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it only shows where to start
            model.fit(columns, some.y.numpy(), some.weights.numpy())
        still.lengths.copy_(_lengths(model.kernel_, data.x.shape[1]))
        learnt = data.noise is None
        log_noise = torch.tensor(float(np.log(model.noise_)) if learnt else 0.0, dtype=torch.float64)
        return State(DeepKernel(still, model.kernel_), log_noise.requires_grad_(learnt))

    def _warn(self) -> None:
        found = self.collapse_
        if found.collapsed:
            said = f"the features have collapsed: two rows correlate by {found.correlation:.2f} in the middle"
        elif found.overfitted:
            said = (
                f"the features have learnt the rows: a row that was held out has a log density of "
                f"{found.held_out:.3g} nats, one of training {found.log_marginal_likelihood:.3g}"
            )
        else:
            return
        advice = "try objective='clml', fewer max_steps or a smaller hidden, or GPRegressor"
        warnings.warn(f"{said}; {advice}", ConvergenceWarning, stacklevel=3)


def _merged(data: Data) -> Data:
    """Return equal rows as one that has the sum of their weights: else one would train, another judge."""
    known = [] if data.noise is None else [data.noise[:, None]]
    table = torch.cat([data.x, data.y, *known], 1).numpy()
    _, first, which = np.unique(table, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    weights = np.bincount(which, data.weights.numpy())[order]
    return replace(data.rows(torch.from_numpy(first[order])), weights=torch.from_numpy(weights))


def _rescale(kernel: gpytorch.kernels.Kernel, factor: float) -> None:
    """Multiply the variances of a kernel."""
    for part in kernel.modules():
        for declared in part.declared() if isinstance(part, Kernel) else ():
            if declared.unit.startswith("y^2"):
                setattr(part, declared.name, getattr(part, declared.name).detach() * factor)


def _lengths(kernel: gpytorch.kernels.Kernel, d: int) -> Tensor:
    """Return the lengthscale of each of ``d`` columns where the kernel has such, at most `FARTHEST`."""
    for part in kernel.modules():
        found = getattr(part, "lengthscale", None)
        if isinstance(found, Tensor) and found.numel() == d:
            return found.detach().flatten().clamp(max=FARTHEST)
    return torch.ones(d, dtype=torch.float64)


def _collapse(found: Learnt, data: Data, generator: torch.Generator) -> Collapse:
    state, rows = found.training.state, data.rows(found.context)
    some = rows.x[torch.randperm(len(rows.x), generator=generator)[:PAIRED]]
    with torch.no_grad():
        sd = variance(state.kernel, some).sqrt()
        correlations = covariance(state.kernel, some) / torch.outer(sd, sd)
        marginal = float(log_likelihood(state, rows, "lml"))
    pairs = correlations[torch.triu_indices(len(some), len(some), 1).unbind()]
    error = float(found.held_out.std()) / len(found.held_out) ** 0.5 if len(found.held_out) > 1 else math.inf
    return Collapse(float(pairs.median()), marginal, float(found.held_out.mean()), error)
