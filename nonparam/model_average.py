"""Several models, each weighted by how much its evidence or its predictions speak for it."""

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted

from nonparam.averaging import HyperparameterAverage
from nonparam.decomposition import numbered
from nonparam.errors import InputError
from nonparam.mixture_prediction import MixturePredictionMixin
from nonparam.model_selection.evidence_integral import laplace_evidence
from nonparam.model_selection.scores import loo
from nonparam.model_selection.stacking import stacking_weights
from nonparam.validation import check_choice, check_numbers, check_outputs, check_table

__all__ = ["ModelAverage"]

Array = NDArray[np.float64]

WEIGHTS = ("evidence", "stacking")


class ModelAverage(MixturePredictionMixin, RegressorMixin, MultiOutputMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    r"""A mixture of models, weighted by their posterior probabilities or by how well they predict together.

    .. math:: p(y_* \mid y) = \sum_k w_k \, p(y_* \mid y, M_k), \quad
              w_k = \frac{\pi_k \, p(y \mid M_k)}{\sum_l \pi_l \, p(y \mid M_l)}

    By evidence, a model's weight is its posterior probability if one of them is true; with many rows one
    takes all. Stacking has weights that predict each row best from all others: it asks which mixture predicts
    well, though none be true, and keeps several.

    Args:
        models: regressors of ours, or pairs ``(name, regressor)``; clones of them are fitted.
        weights: ``"evidence"`` or ``"stacking"``.
        prior_odds: with ``"evidence"``, ``(k,)`` positive numbers, odds before any data; by default equal.

    Attributes:
        models_: the fitted clones.
        names_: their names.
        weights_: ``(k,)``, which sum to 1.
        log_evidences_: ``(k,)``, in nats; with ``"evidence"`` only.
        log_densities_: ``(n, k)``, of each row given all others, in nats, summed over outputs; with
            ``"stacking"`` only.
        n_features_in_: the number of columns of ``X``.
        feature_names_in_: their names, where ``X`` had some.

    Raises:
        InputError: no models, or models whose evidences cannot be compared: without proper priors, or with
            means of other basis functions.

    Source: Hoeting, Madigan, Raftery and Volinsky (1999), Bayesian model averaging: a tutorial, Statistical
    Science 14, equations 1 and 2; Yao et al. (2018), Bayesian Analysis 13, section 3.

    Examples:
        >>> from nonparam import GPRegressor
        >>> X = np.linspace(0.0, 6.0, 20)[:, None]
        >>> y = np.sin(X[:, 0]) + 0.1 * np.cos(40.0 * X[:, 0])
        >>> average = ModelAverage([GPRegressor("linear"), GPRegressor("rbf")]).fit(X, y)
        >>> dict(zip(average.names_, average.weights_.round(3).tolist()))
        {'gpregressor': 0.0, 'gpregressor (2)': 1.0}
    """

    def __init__(
        self,
        models: Sequence[Any],
        *,
        weights: Literal["evidence", "stacking"] = "evidence",
        prior_odds: ArrayLike | None = None,
    ) -> None:
        self.models = models
        self.weights = weights
        self.prior_odds = prior_odds

    def fit(self, X: Any, y: Any) -> Self:
        """Fit a clone of each model, and weigh them.

        Args:
            X: ``(n, d)``.
            y: ``(n,)``, or ``(n, t)`` for several outputs.
        """
        check_choice(self.weights, "weights", WEIGHTS)
        named = self._checked()
        odds = self._odds(len(named))
        x = check_table(self, X, reset=True)
        outputs = check_outputs(y, len(x))
        if self.weights == "stacking" and len(x) == 1:
            raise InputError("stacking predicts each row from all others, got 1 sample: take more rows")
        self.names_ = list(named)
        self.models_ = [clone(model).fit(x, outputs) for model in named.values()]
        if self.weights == "evidence":
            _check_means(self.names_, self.models_)
            self.log_evidences_ = np.array([laplace_evidence(model) for model in self.models_])
            logs = np.log(odds) + self.log_evidences_
            self.weights_ = np.exp(logs - logsumexp(logs))
        else:
            self.log_densities_ = np.stack([_held_out(*pair) for pair in self._pairs()], 1)
            self.weights_ = stacking_weights(self.log_densities_)
        return self

    def _pairs(self) -> list[tuple[str, Any]]:
        return list(zip(self.names_, self.models_, strict=True))

    def log_evidence(self) -> float:
        """Return the log evidence that one of the models is true, prior odds counted, in nats.

        Raises:
            InputError: stacking weights, which are no probabilities of models.
        """
        check_is_fitted(self)
        if self.weights != "evidence":
            raise InputError("stacking weights are no probabilities of models: take weights='evidence'")
        odds = self._odds(len(self.models_))
        return float(logsumexp(np.log(odds / odds.sum()) + self.log_evidences_))

    def _odds(self, k: int) -> Array:
        if self.prior_odds is None:
            return np.ones(k)
        if self.weights != "evidence":
            raise InputError("prior_odds are of use with weights='evidence' only: leave them out")
        odds = check_numbers(self.prior_odds, "prior_odds")
        if odds.shape != (k,) or not (np.isfinite(odds) & (odds > 0.0)).all():
            raise InputError(f"prior_odds must be {k} positive numbers, one a model, got {self.prior_odds!r}")
        return odds

    def _named(self) -> dict[str, Any]:
        """Return the models by name; one without a name is called after its class."""
        given = self.models if isinstance(self.models, list | tuple) else []
        pairs = [_pair(model) for model in given]
        return dict(zip(numbered([name for name, _ in pairs]), [model for _, model in pairs], strict=True))

    def _checked(self) -> dict[str, Any]:
        """Return the models by name; raise `InputError` for what is none."""
        named = self._named()
        if not named:
            raise InputError(
                f"models must be a list of regressors or of (name, regressor) pairs, got {self.models!r}"
            )
        own = super().get_params(deep=False)
        for name, model in named.items():
            if not all(hasattr(model, way) for way in ("fit", "predict", "get_params")):
                raise InputError(f"each of models must be a regressor or a (name, regressor), got {model!r}")
            if "__" in name or name in own:
                raise InputError(f"{name!r} cannot name a model: it is an argument's name, or has '__' in it")
        return named

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments by name; with ``deep`` also the models by theirs, and their arguments."""
        params: dict[str, Any] = super().get_params(deep=False)
        if not deep:
            return params
        for name, model in self._named().items():
            params[name] = model
            if hasattr(model, "get_params"):
                params.update({f"{name}__{key}": value for key, value in model.get_params(deep=True).items()})
        return params

    def set_params(self, **params: Any) -> Self:
        """Set arguments by name: of this average, whole models, or arguments of models, ``name__kernel``."""
        if "models" in params:
            self.models = params.pop("models")
        named = self._named()
        for i, name in enumerate(named):
            if name in params:
                given, model = self.models[i], params.pop(name)
                new = (given[0], model) if isinstance(given, tuple) else model
                self.models = [*self.models[:i], new, *self.models[i + 1 :]]
        super().set_params(**params)
        return self


def _pair(model: Any) -> tuple[str, Any]:
    named = isinstance(model, tuple) and len(model) == 2 and isinstance(model[0], str)
    return model if named else (type(model).__name__.lower(), model)


def _held_out(name: str, model: Any) -> Array:
    """Return the log density of each row given all others, ``(n,)``, summed over outputs."""
    if not hasattr(model, "joint_density"):
        raise InputError(
            f"stacking needs each row's density given all others, and {name} ({type(model).__name__}) has no "
            "joint_density(): take weights='evidence', or models that have one, such as GPRegressor"
        )
    found: Array = loo(model).by_row("log_densities").sum(1)
    return found


def _check_means(names: Sequence[str], models: Sequence[Any]) -> None:
    """Raise `InputError` where coefficients under a flat prior differ: their constants do not cancel."""
    first, *others = [_basis(model) for model in models]
    for name, basis in zip(names[1:], others, strict=True):
        q = first.shape[1]
        if basis.shape[1] != q or (q and not np.allclose(basis, first)):
            raise InputError(
                f"{names[0]} and {name} have means of other basis functions ({q} and {basis.shape[1]}). "
                "Their coefficients have flat priors, which are improper, and the ratio of the evidences has "
                "an arbitrary constant: give both the same mean=, with a linear kernel for a trend, or "
                "take weights='stacking'"
            )


def _basis(model: Any) -> Array:
    """Return the basis functions of a model's mean, ``(n, q)``; all models of an average have the same."""
    if isinstance(model, ModelAverage):
        return _basis(model.models_[0])
    fitted = model.estimator_ if isinstance(model, HyperparameterAverage) else model
    if hasattr(fitted, "posterior_"):
        return np.asarray(fitted.posterior_.data.basis.numpy(force=True))
    joint = fitted.joint_density() if hasattr(fitted, "joint_density") else None
    basis = getattr(joint, "basis", None)
    return np.zeros((1, 0)) if basis is None else np.asarray(basis.numpy(force=True))
