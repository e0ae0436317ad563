"""Classification with infinitely wide networks."""

import time
import warnings
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from nonparam.checkpoint import State, checkpoint_at
from nonparam.files import FileMixin, class_state, take_classes
from nonparam.kernels import with_amplitude
from nonparam.kernels.infinite import KINDS, InfiniteNetwork
from nonparam.kernels.layers import Sequential
from nonparam.labels import check_labels
from nonparam.latent.calibration import Calibration, calibrate
from nonparam.latent.class_posterior import ClassPosterior, condition_classes, plan_classes
from nonparam.latent.concentration import Learnt, check_concentration, clearest, concentrations
from nonparam.latent.dirichlet import DirichletObjective, LogNormal, class_data
from nonparam.model_selection.held_out import HeldOutRows
from nonparam.networks.class_flow import TrainedClasses, train_classes
from nonparam.networks.gradient_flow import check_time
from nonparam.newton import Watch, maximise_watched
from nonparam.progress import Progress
from nonparam.scales import default_priors, initialise, measure
from nonparam.theta import Theta
from nonparam.threads import threads_for
from nonparam.training import FitReport
from nonparam.validation import (
    check_choice,
    check_count,
    check_device,
    check_scale,
    check_seed,
    check_table,
    check_temperature,
    check_verbose,
)

__all__ = ["InfiniteNetworkClassifier"]

Array = NDArray[np.float64]

SEARCHED = 1000  # rows by which hyperparameters are learnt
FEW = 10  # of each class that are among them, unless these would be more than half
TOLERANCE = 1e-6  # nats gained in the last steps of the search
WIDE = 0.25  # of the range of a column: its spread is at least that


class InfiniteNetworkClassifier(FileMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    r"""Classes by the softmax of infinitely wide networks, one function for each class.

    The functions are Gaussian processes that share a covariance, conditioned on log-normal targets (see
    `nonparam.latent.dirichlet`): all classes together take one inverse. Variances of weights and biases
    maximise the evidence of 1,000 rows at most, summed over the classes; then all rows count. Probabilities
    are

    .. math:: P(y = c \mid x) = E\, \mathrm{softmax}((m(x) + \kappa \sqrt{v(x)}\, z) / \tau
              + \rho \log \pi)_c, \quad z \sim N(0, I),

    with the posterior moments of the functions and the shares :math:`\pi` of the classes among the rows, by a
    rule that draws nothing. The three numbers :math:`\tau`, :math:`\kappa` and :math:`\rho` have the smallest
    log loss of rows that are left out, one at a time, in closed form.

    With a ``train_time`` the functions are those of an ensemble of networks that gradient descent has trained
    on the targets, as in `InfiniteNetworkRegressor`, without knowing of their noise; squares are in units of
    half the gap between the targets. Rows are then left out a fifth at a time.

    Columns are divided by their deviation or a quarter of their range, whichever is larger: of a column that
    hardly ever varies, such as a pixel in a corner, the deviation says little of what new rows may hold.

    Args:
        arch: such as ``"relu-3"``, three hidden layers of rectifiers, or a `nonparam.networks.Sequential`.
        kernel: ``"nngp"``, the covariance of random networks, or ``"ntk"``, the tangent kernel.
        train_time: of gradient descent with ``kernel="ntk"``, a positive number or ``math.inf``; ``None`` for
            the posterior of Gaussian processes. Up to 4,000 rows are trained on by eigenvectors, more by the
            Lanczos process, where the deviation of each new row takes about half a second.
        objective: what is maximised: ``"lml"``, the log evidence of the targets; ``"loo"``, the log density
            of each row's targets given all others; ``"clml"``, the conditional log marginal likelihood. The
            last two take a factorisation for each class.
        alpha_epsilon: the prior concentration of each class, between 0 and 1: the smaller, the less noise the
            functions see within a class, next to that outside of it. Clear labels, such as those of digits,
            have a small one; ``"learn"`` takes that of four with the smallest log loss of rows left out.
        temperature: :math:`\tau`, a positive number, with :math:`\kappa = 1` and :math:`\rho = 0`; or
            ``"learn"`` for all three.
        n_restarts: searches besides the one that starts from the scale of the data.
        priors: ``"default"`` for weakly informative ones of the hyperparameters, or ``None``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        random_state: seed of the rows that hyperparameters are learnt by, and of the restarts.
        verbose: 1 to print the plan and the report.

    Attributes:
        classes_: the labels, in ascending order.
        kernel_: the covariance of the functions with its fitted values.
        alpha_epsilon_: the concentration, given or learnt.
        calibration_: the three numbers, and the log loss of rows given all others.
        fit_report_: how the hyperparameters were learnt.
        n_features_in_: the number of columns of ``X``.
        feature_names_in_: their names, where ``X`` had some.

    Raises:
        InputError: data or arguments that no model can be fitted to, such as a single class.
        InsufficientMemoryError: more rows than the memory holds, before anything is allocated.
        ConvergenceError: with many rows, a ``train_time`` too long for the Lanczos process.

    Source: Milios et al. (2018), see `nonparam.latent.dirichlet`; the kernels: see `InfiniteNetwork`.

    Examples:
        >>> X = np.linspace(-2.0, 2.0, 40)[:, None]
        >>> model = InfiniteNetworkClassifier("erf-2").fit(X, np.where(X[:, 0] > 0.0, "right", "left"))
        >>> model.predict([[-1.5], [1.5]])
        array(['left', 'right'], dtype='<U5')
        >>> model.predict_proba([[1.5]]).round(1)
        array([[0., 1.]])
    """

    def __init__(
        self,
        arch: str | Sequential = "relu-3",
        *,
        kernel: Literal["nngp", "ntk"] = "nngp",
        train_time: float | None = None,
        objective: Literal["lml", "loo", "clml"] = "lml",
        alpha_epsilon: float | Literal["learn"] = 0.001,
        temperature: float | Literal["learn"] = "learn",
        n_restarts: int = 0,
        priors: Literal["default"] | None = "default",
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.arch = arch
        self.kernel = kernel
        self.train_time = train_time
        self.objective = objective
        self.alpha_epsilon = alpha_epsilon
        self.temperature = temperature
        self.n_restarts = n_restarts
        self.priors = priors
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Self:
        """Learn the hyperparameters, condition on the labels, and learn the temperature.

        Args:
            X: ``(n, d)``.
            y: ``(n,)`` labels of two or more classes.

        Returns:
            The estimator. A ``ConvergenceWarning`` says that the search ended before it met a tolerance.
        """
        began = time.perf_counter()
        self._check_arguments()
        x = check_table(self, X, reset=True)
        self.classes_, codes = check_labels(y, len(x))
        check_scale(x, x)
        device, rng = check_device(self.device, len(x)), check_seed(self.random_state)
        plan = plan_classes(len(x), len(self.classes_), device)
        if self.verbose:
            print(plan)
        order = np.argsort(codes, kind="stable")
        rows = torch.tensor(x[order], device=device)
        with threads_for(len(x)):
            report, seed = self._learn(rows, codes[order], rng, str(plan))
            self._sizes = np.bincount(codes).tolist()
            self._posterior = self._given(rows, seed)
            self.calibration_ = self._calibrated(seed)
        self.fit_report_ = replace(report, seconds=time.perf_counter() - began, jitter=self._posterior.jitter)
        if self.verbose:
            print(self.fit_report_)
        if not report.converged:
            said = f"the search for hyperparameters did not converge ({report.message}): try n_restarts"
            warnings.warn(said, ConvergenceWarning, stacklevel=2)
        return self

    def _check_arguments(self) -> None:
        check_choice(self.kernel, "kernel", KINDS)
        check_time(self.train_time, self.kernel)
        check_choice(self.objective, "objective", ("lml", "loo", "clml"))
        check_choice(self.priors, "priors", ("default", None))
        check_count(self.n_restarts, "n_restarts")
        check_verbose(self.verbose)
        check_concentration(self.alpha_epsilon)
        check_temperature(self.temperature)

    def _learn(
        self, x: Tensor, codes: NDArray[np.intp], rng: np.random.RandomState, plan: str
    ) -> tuple[FitReport, int]:
        """Learn the hyperparameters by some of the rows, which are in order of their classes.

        Returns:
            The report, and a seed.
        """
        some = _some(codes, rng)
        counts = np.bincount(codes[some])
        sizes = counts[counts > 0].tolist()
        rows, spread = x[torch.from_numpy(some).to(x.device)], _spread(x.cpu().numpy()).tolist()
        held_out = HeldOutRows.of(self.objective, len(some), rng)
        values, found = concentrations(self.alpha_epsilon), []
        for value in values:
            objective = replace(self._objective(rows, sizes, spread, LogNormal.of(value)), held_out=held_out)
            state = State(objective.theta.starting_points(self.n_restarts, rng))
            with checkpoint_at(None, 0.0, {}) as checkpoint, Progress(bool(self.verbose)) as progress:
                watch = Watch(checkpoint, progress)
                best, report = maximise_watched(objective, state, watch, plan=plan, tolerance=TOLERANCE)
            found.append(Learnt(objective, best, report))
        seed = int(rng.randint(2**31 - 1))
        number = clearest(found, seed)
        learnt, self.alpha_epsilon_ = found[number], values[number]
        learnt.objective.theta.assign(learnt.theta)
        self.kernel_ = learnt.objective.theta.kernel
        return learnt.report, seed

    def _objective(
        self, x: Tensor, sizes: list[int], spread: list[float], seen: LogNormal
    ) -> DirichletObjective:
        data, ones = class_data(x, seen, sizes), np.ones(len(x))
        scales = measure(x.cpu().numpy(), data.y.cpu().numpy(), ones, normalize_y=False, find_periods=False)
        scales = replace(scales, y_variance=(0.5 * seen.gap) ** 2)
        kernel = with_amplitude(InfiniteNetwork(self.arch, self.kernel, spread=spread)).double().to(x.device)
        initialise(kernel, scales)
        informative = self.priors == "default"
        theta = Theta(kernel, default_priors(kernel, scales, informative=informative), None)
        return DirichletObjective(data, theta, informative, seen=seen, sizes=sizes)

    def _given(self, rows: Tensor, seed: int) -> ClassPosterior | TrainedClasses:
        """Return the functions given rows in order of their classes."""
        seen = LogNormal.of(self.alpha_epsilon_)
        if self.train_time is None:
            return condition_classes(self.kernel_, rows, seen, self._sizes)
        return train_classes(self.kernel_, rows, seen, self._sizes, float(self.train_time), seed)

    def _learnt_state(self) -> dict[str, Any]:
        state = {"x": self._posterior.x, "sizes": self._sizes, "alpha_epsilon_": self.alpha_epsilon_}
        return state | class_state(self) | {"kernel": self.kernel_}

    def _resume(self, state: dict[str, Any]) -> None:
        take_classes(self, state)
        self._sizes, self.alpha_epsilon_ = state["sizes"], state["alpha_epsilon_"]
        self.kernel_, rows = state["kernel"], torch.from_numpy(state["x"])
        plan_classes(len(rows), len(self._sizes), rows.device)
        with threads_for(len(rows)):
            self._posterior = self._given(rows, 0)

    def _calibrated(self, seed: int) -> Calibration:
        if not isinstance(self.temperature, str):
            return Calibration(float(self.temperature), 1.0, 0.0, np.nan)
        rows, mean, variance = self._posterior.left_out()
        own = self._posterior.targets.argmax(1)[rows]
        return calibrate(mean, variance, own, self._log_shares, torch.Generator().manual_seed(seed))

    @property
    def _log_shares(self) -> Tensor:
        """The logarithms of the shares of the classes, ``(c,)``."""
        x = self._posterior.x
        return torch.tensor(self._sizes, dtype=x.dtype, device=x.device).div(len(x)).log()

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes, in the order of ``classes_``: ``(m, c)`` for ``X (m, d)``.

        Raises:
            InputError: rows that are no numbers.
        """
        check_is_fitted(self)
        x = torch.tensor(check_table(self, X, reset=False), device=self._posterior.x.device)
        with threads_for(len(self._posterior.x)):
            mean, variance = self._posterior.moments(x)
            found: Array = self.calibration_.probabilities(mean, variance, self._log_shares).cpu().numpy()
        return found

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities of the classes: ``(m, c)`` for ``X (m, d)``."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the label with the largest probability for each row: ``(m,)`` for ``X (m, d)``."""
        most = self.predict_proba(X).argmax(1)
        found: NDArray[Any] = self.classes_[most]
        return found


def _some(codes: NDArray[np.intp], rng: np.random.RandomState) -> NDArray[np.intp]:
    """Return the rows that hyperparameters are learnt by: some of every class, then any, in order.

    Without a rare class they would be those of another problem.
    """
    counts, keys = np.bincount(codes), rng.random_sample(len(codes))
    by_class = np.lexsort((keys, codes))
    rank = np.arange(len(codes)) - np.repeat(counts.cumsum() - counts, counts)
    first = np.minimum(rank, min(FEW, SEARCHED // (2 * len(counts))))
    return np.sort(by_class[np.lexsort((keys[by_class], first))[:SEARCHED]])


def _spread(x: Array) -> Array:
    """Return what the columns of ``x (n, d)`` are divided by; 1 for one that does not vary."""
    spread = np.maximum(x.std(0), WIDE * np.ptp(x, axis=0))
    return np.where(np.ptp(x, axis=0) > 1e-12 * np.abs(x).max(0), spread, 1.0)
