"""What is asked of a model that takes part in a comparison, whatever kind it is of."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nonparam.errors import InputError
from nonparam.model_selection.joint import HeldOut, JointDensity

__all__ = ["Conditioning", "Contestant", "HeldOutOf"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
HeldOutOf = Callable[[Sequence[Rows]], list[HeldOut]]
Conditioning = Literal["fixed", "refitted", "none"]


class Contestant(ABC):
    """One model, with the data that all models are given.

    Args:
        name: of the model.
        model: as it was given; it is not changed.
        X: ``(n, d)``; ``None`` for hypotheses that have no inputs.
        y: ``(n,)``.

    Attributes:
        conditioning: what becomes of hyperparameters where rows are held out of a fitted model.
        joint: the density of ``y`` under the fitted model; ``None`` where there is none in closed form.
        why_no_joint: the reason.
        predicts: whether `refitted` has an answer.
        seconds: of the fit; NaN where the model came fitted.
        notes: what a user should know, by the name of a column.
    """

    conditioning: Conditioning

    def __init__(self, name: str, model: Any, X: Any, y: Array) -> None:
        self.name = name
        self.model = model
        self.X = X
        self.y = y
        self.joint: JointDensity | None = None
        self.why_no_joint = ""
        self.predicts = True
        self.seconds = np.nan
        self.notes: dict[str, str] = {}

    @abstractmethod
    def fit(self) -> None:
        """Fit the model to all rows; all that follows asks the fitted one."""

    @abstractmethod
    def lml(self) -> float:
        """Return the log marginal likelihood at the fitted hyperparameters, in nats."""

    @abstractmethod
    def log_evidence(self, prior_width: float = 1.0) -> float:
        """Return it with all hyperparameters integrated out, the widths of their priors multiplied."""

    @abstractmethod
    def refitted(self, train: Rows, test: Rows) -> tuple[Array, Array]:
        """Fit a fresh copy to some rows; return log densities and residuals of others, ``(m,)`` each."""

    @abstractmethod
    def parameters(self) -> float:
        """Return the nominal number of parameters."""

    @abstractmethod
    def bic(self) -> float:
        """Return the Bayesian information criterion, as a log density."""

    @abstractmethod
    def aic(self) -> float:
        """Return Akaike's information criterion, as a log density."""

    @property
    def held_out(self) -> HeldOutOf | None:
        """What says how likely rows are given all others; ``None`` where nothing does."""
        return None if self.joint is None else self.joint.held_out

    def flat_basis(self) -> Array:
        """Return the basis functions of the mean whose coefficients have a flat prior, ``(n, q)``."""
        basis = getattr(self.joint, "basis", None)
        return np.empty((len(self.y), 0)) if basis is None else np.asarray(basis.cpu().numpy())

    def effective_parameters(self) -> float:
        """Return how many parameters the data determine."""
        return self.exact().effective_parameters()

    def exact(self) -> JointDensity:
        """Return the joint density; raise `InputError` where there is none."""
        if self.joint is None:
            raise InputError(self.why_no_joint)
        return self.joint
