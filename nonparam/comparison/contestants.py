"""The kinds of models that take part in a comparison: what each can tell, and why it cannot tell the rest."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from textwrap import shorten
from typing import Any

import gpytorch
import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing

from nonparam.comparison.contestant import Conditioning, Contestant, HeldOutOf
from nonparam.comparison.mixture_joint import mixture_joint, widened
from nonparam.comparison.refits import Refits, moments
from nonparam.errors import InputError, InsufficientMemoryError
from nonparam.kernels.base import formula
from nonparam.model_selection import scores
from nonparam.model_selection.joint import JointDensity, SolvedJoint
from nonparam.model_selection.search import KernelSearch
from nonparam.objective import BATCHED
from nonparam.regression import GPRegressor

__all__ = ["ClosedForm", "GaussianProcess", "LinearModel", "ScikitLearn", "contestants"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

RESTARTS = 3  # of a formula, up to `BATCHED` rows: a lesser maximum would turn the verdicts
EXACT_ROWS = 10_000  # beyond, no n x n matrix is formed
NAME_WIDTH = 60  # characters of a name that is made up
PREDICTS_ONLY = "a scikit-learn model has no density of all rows together"
JITTER = 1e-10  # scikit-learn's default of alpha, which is no noise
WITHOUT_ALPHA = (
    "that of the function, without the noise alpha, which scikit-learn adds to the rows of a fit only; put"
    " the noise into the kernel, as a WhiteKernel, for the density of observations"
)
LEARNT = "no prior of what was learnt ({}), which is an improper prior; {}"


class Estimator(Contestant):
    """A regressor of ours: it has a joint density."""

    conditioning = "fixed"

    def fit(self) -> None:
        """Fit a copy, and form the joint density where that is affordable."""
        began = time.perf_counter()
        self.model = clone(self.model).fit(self.X, self.y)
        self.seconds = time.perf_counter() - began
        self._form_joint()

    def _form_joint(self) -> None:
        self.why_no_joint = (
            f"{len(self.y):,} rows are too many for the exact form; cross-validation stands alone, and"
            " nonparam.model_selection.clml holds out as many rows as you like"
        )
        if len(self.y) > EXACT_ROWS:
            return
        try:
            joint = self.model.joint_density()
        except InsufficientMemoryError as error:
            self.why_no_joint = str(error)
        else:
            self.joint = None if isinstance(joint, SolvedJoint) else joint

    def lml(self) -> float:
        """Return the log marginal likelihood."""
        return self.exact().log_density()

    def refitted(self, train: Rows, test: Rows) -> tuple[Array, Array]:
        """Learn the hyperparameters afresh from some rows."""
        fitted = clone(self.model).fit(_safe_indexing(self.X, train), self.y[train])
        x, y = _safe_indexing(self.X, test), self.y[test]
        return fitted.log_predictive_density(x, y), y - fitted.predict(x)

    def parameters(self) -> float:
        """Return the number of hyperparameters and coefficients."""
        return float(self.model.num_parameters_)

    def bic(self) -> float:
        """Return the Bayesian information criterion."""
        self.exact()
        return scores.bic(self.model)

    def aic(self) -> float:
        """Return Akaike's information criterion."""
        self.exact()
        return scores.aic(self.model)


class GaussianProcess(Estimator):
    """A `GPRegressor`: fitted here, or fitted before to the same data."""

    def fit(self) -> None:
        """Fit a copy; a model that is fitted stays as it is."""
        if not hasattr(self.model, "posterior_"):
            super().fit()
            return
        self._check_same_data()
        self._form_joint()

    def _check_same_data(self) -> None:
        data = self.model.posterior_.data
        x, y = data.x.cpu().numpy(), data.y.cpu().numpy() * self.model.y_scale_ + self.model.y_mean_
        given = np.asarray(self.X, dtype=np.float64)
        if x.shape != given.shape or y.shape != (len(self.y), 1):
            other = f"an X of shape {x.shape} and a y of shape {y.shape}"
        elif not np.array_equal(x, given):
            other = "other values of X"
        elif not np.allclose(y[:, 0], self.y, rtol=1e-9, atol=1e-12 * float(np.abs(self.y).max())):
            other = "other values of y, or y on another scale"
        else:
            return
        raise InputError(
            f"{self.name!r} was fitted to {other}: all models must be fitted to the same data; pass it"
            " unfitted (sklearn.base.clone), and it is fitted to these"
        )

    def log_evidence(self, prior_width: float = 1.0) -> float:
        """Return Laplace's approximation."""
        if self.model.priors is None:
            raise InputError(LEARNT.format("priors=None", "take priors='default'"))
        if not self.model._by_laplace:
            raise InputError("log_evidence() is BIC, as the solver does not tell the curvature at the mode")
        return float(self.model.log_evidence(prior_width))

    def flat_basis(self) -> Array:
        """Return the basis functions of the mean."""
        return np.asarray(self.model.posterior_.data.basis.cpu().numpy())

    def refitted(self, train: Rows, test: Rows) -> tuple[Array, Array]:
        """Learn the hyperparameters afresh, unless every row has a known noise of its own."""
        if isinstance(self.model.noise_, np.ndarray):
            self.notes["k_fold"] = "hyperparameters fixed: the noise is known row by row"
            held = self.exact().held_out([test])[0]
            return held.log_densities[:, 0], held.residual[:, 0]
        return super().refitted(train, test)


class LinearModel(Estimator):
    """A `BayesianLinearRegressor`, whose prior may be widened."""

    def log_evidence(self, prior_width: float = 1.0) -> float:
        """Return the exact evidence; widened, that of a fit with a prior of that width."""
        if len(self.model.theta_):
            names = ", ".join(self.model.theta_names_)
            raise InputError(LEARNT.format(names, "give prior_variance, and noise or noise='marginalise'"))
        if prior_width == 1.0:
            return float(self.model.log_evidence())
        variance = np.asarray(self.model.prior_variance) * prior_width**2
        wider = clone(self.model).set_params(prior_variance=variance)
        return float(wider.fit(self.X, self.y).log_evidence())


class ScikitLearn(Contestant):
    """A regressor whose ``predict`` takes ``return_std=True``."""

    conditioning: Conditioning = "refitted"

    def fit(self) -> None:
        """Fit a copy to all rows; it must give every row a density."""
        began = time.perf_counter()
        fitted = clone(self.model).fit(self.X, self.y)
        self.seconds = time.perf_counter() - began
        moments(self.name, fitted, self.X)
        self.why_no_joint = PREDICTS_ONLY
        self._refits = Refits(self.name, self.model, self.X, self.y)
        if "optimizer" in self.model.get_params(deep=False) and hasattr(fitted, "kernel_"):
            self.conditioning = "fixed"  # those of the kernel, of which a refit is no search
            settled = clone(self.model).set_params(kernel=fitted.kernel_, optimizer=None)
            self._refits = Refits(self.name, settled, self.X, self.y)
        self.notes["clml"] = "by the chain rule, a fit for each row that is held out"
        last = _last_step(self.model)
        if isinstance(last, GaussianProcessRegressor) and np.any(np.asarray(last.alpha) > JITTER):
            self.notes["sd"] = WITHOUT_ALPHA

    @property
    def held_out(self) -> HeldOutOf:
        """Fits to all other rows."""
        return self._refits.held_out

    def refitted(self, train: Rows, test: Rows) -> tuple[Array, Array]:
        """Fit a copy to some rows."""
        mean, sd = Refits(self.name, self.model, self.X, self.y).predict(train, test)
        return norm.logpdf(self.y[test], mean, sd), self.y[test] - mean

    def lml(self) -> float:
        """Raise `InputError`."""
        raise InputError(PREDICTS_ONLY)

    def log_evidence(self, prior_width: float = 1.0) -> float:
        """Raise `InputError`."""
        raise InputError(PREDICTS_ONLY)

    def parameters(self) -> float:
        """Raise `InputError`."""
        raise InputError("scikit-learn does not count them")

    def bic(self) -> float:
        """Raise `InputError`."""
        raise InputError(PREDICTS_ONLY)

    def aic(self) -> float:
        """Raise `InputError`."""
        raise InputError(PREDICTS_ONLY)


class ClosedForm(Contestant):
    """A hypothesis: a density of the outputs that is known before they are seen, whatever the inputs are."""

    conditioning = "none"

    def fit(self) -> None:
        """Ask for the density of the outputs; where rows depend on each other there is an evidence only."""
        if hasattr(self.model, "log_evidence") and self.log_evidence() == -np.inf:
            raise InputError("it rules these data out: their log density is -inf")
        try:
            self.joint = _joint_of(self.model, self.y)
        except InputError as error:
            self.why_no_joint = str(error)
            self.predicts = False

    def lml(self) -> float:
        """Return the log density of all outputs."""
        return self.log_evidence()

    def log_evidence(self, prior_width: float = 1.0) -> float:
        """Return the log density; widened, that of the hypothesis with a prior of that width."""
        model = self.model if prior_width == 1.0 else _widened(self.model, prior_width)
        if hasattr(model, "log_evidence"):
            return float(model.log_evidence(self.y))
        return float(model.joint_density(self.y).log_density())

    def refitted(self, train: Rows, test: Rows) -> tuple[Array, Array]:
        """Condition on all other rows: nothing is fitted."""
        held = self.exact().held_out([test])[0]
        return held.log_densities[:, 0], held.residual[:, 0]

    def parameters(self) -> float:
        """Return the number of parameters that the hypothesis states; none where it states nothing."""
        return float(getattr(self.model, "num_parameters_", 0))

    def bic(self) -> float:
        """Raise `InputError`."""
        raise InputError("nothing was maximised")

    def aic(self) -> float:
        """Raise `InputError`."""
        raise InputError("nothing was maximised")


def _joint_of(hypothesis: Any, y: Array) -> JointDensity:
    if hasattr(hypothesis, "joint_density"):
        joint: JointDensity = hypothesis.joint_density(y)
        return joint
    if hasattr(hypothesis, "density"):
        return mixture_joint(hypothesis, y)
    raise InputError("its density is that of all rows together: it does not predict some from others")


def _widened(hypothesis: Any, factor: float) -> Any:
    """Return a hypothesis with a wider prior; one that has none stays as it is."""
    if hasattr(hypothesis, "widened"):
        return hypothesis.widened(factor)
    if getattr(hypothesis, "prior", None) is None:
        return hypothesis
    return replace(hypothesis, prior=widened(hypothesis.prior, factor))


def contestants(models: Sequence[Any] | Mapping[str, Any], X: Any, y: Array) -> list[Contestant]:
    """Return the models by kind, each with a name of its own.

    Args:
        models: a list of models, a list of pairs of names and models, or a mapping from names.
        X: ``(n, d)``, or ``None``.
        y: ``(n,)``.

    Raises:
        InputError: fewer than two models, names that are not different, or something that is no model.
    """
    if isinstance(models, str) or not isinstance(models, Sequence | Mapping):
        raise InputError(f"models must be a list or a mapping of at least two, got {models!r}")
    if len(models) < 2:
        raise InputError(f"a comparison takes at least two models, got {len(models)}")
    entered = [_contestant(name, model, X, y) for name, model in _named(models)]
    names = [each.name for each in entered]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"more than one model is called {repeated[0]!r}: give a mapping from names to models, or pairs"
        )
    return entered


def _named(models: Sequence[Any] | Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    pairs = models.items() if isinstance(models, Mapping) else [_pair(entry) for entry in models]
    for name, model in pairs:
        if not (isinstance(name, str) and name.strip()):
            raise InputError(f"the name of a model must be text, got {name!r}")
        yield name, model


def _pair(entry: Any) -> tuple[str, Any]:
    if isinstance(entry, tuple) and len(entry) == 2:
        return entry
    if isinstance(entry, str):
        return entry, entry
    if isinstance(entry, gpytorch.kernels.Kernel):
        return shorten(formula(entry), NAME_WIDTH, placeholder=" ..."), entry
    return shorten(getattr(entry, "name", None) or repr(entry), NAME_WIDTH, placeholder=" ..."), entry


def _contestant(name: str, model: Any, X: Any, y: Array) -> Contestant:
    if isinstance(model, str | gpytorch.kernels.Kernel):
        restarts = RESTARTS if len(y) <= BATCHED else 0
        model = GPRegressor(model, n_restarts=restarts, random_state=0)
    kind = _kind(name, model)
    if X is None and kind is not ClosedForm:
        raise InputError(f"{name!r} needs inputs, and X is None: only hypotheses in closed form have none")
    return kind(name, model, X, y)


def _last_step(model: Any) -> Any:
    """Return the model that predicts: the last one of a pipeline."""
    return model[-1] if isinstance(model, Pipeline) else model


def _takes_table(model: Any) -> bool:
    """Whether ``fit`` asks for ``X`` first: a forecaster begins with ``y``."""
    return next(iter(signature(model.fit).parameters), "") == "X"


def _kind(name: str, model: Any) -> type[Contestant]:
    if isinstance(model, type):
        raise InputError(f"{name!r} is a class: expected an instance, such as {model.__name__}()")
    if isinstance(_last_step(model), KernelSearch | GridSearchCV | RandomizedSearchCV):
        raise InputError(
            f"{name!r} is a search, which would run again for each row and fold that is held out: fit it,"
            " and pass its best_estimator_"
        )
    if isinstance(model, GPRegressor):
        return GaussianProcess
    fits, has_density = hasattr(model, "fit"), hasattr(model, "joint_density")
    if fits and has_density:
        return LinearModel
    if has_density or hasattr(model, "log_evidence"):
        return ClosedForm
    if fits and hasattr(model, "predict") and _takes_table(model):
        return ScikitLearn
    raise InputError(
        f"{name!r} is no model that can be compared: expected a kernel's formula, a regressor with a"
        " predictive standard deviation, or a hypothesis with a joint density; got"
        f" {shorten(repr(model), NAME_WIDTH)}"
    )
