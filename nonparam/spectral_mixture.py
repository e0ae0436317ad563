"""Regression with a spectral mixture kernel whose number of components the evidence chooses."""

import math
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels import Scale, Spectral, Sum, spectral_mixture
from nonparam.newton import SEARCHED
from nonparam.regression import GPRegressor
from nonparam.scales import CONSTANT
from nonparam.validation import check_count, check_outputs, check_table, check_weights

__all__ = ["SpectralMixtureRegressor"]

Array = NDArray[np.float64]

SLOW = 0.01  # cycles in the span of the data: a frequency below it has no sign
TREND = 0.4  # cycles in the span: the data do not show that a slower wave returns
TINY = 1e-12
IDLE = 0.1  # nats that the data lose at most without the components that are removed
GONE = 40.0  # by how much the logarithm of a weight falls to be nothing
WORSE = 2  # numbers of components in a row whose evidence falls, before the search ends


class SpectralMixtureRegressor(GPRegressor):
    r"""A Gaussian process with a spectral mixture kernel: it finds periods and goes on with them.

    .. math::

        k(\tau) = \sum_q w_q \exp(-2 \pi^2 b_q^2 \tau^2) \cos(2 \pi f_q \tau)

    Training starts at the peaks of the data's spectrum, whatever the spacing of the inputs. With
    ``num_components="auto"`` models of 1, 2, ... components are fitted until their evidence falls, and the
    one with the most is kept: :math:`\log p(y \mid Q)`, hyperparameters averaged over by Laplace's
    approximation, with up to :math:`2^Q Q!` orders and signs in which the same components can stand. Beyond
    4,000 rows BIC stands for it.

    Components that end up idle are removed, and the others fitted again: those, the smallest weight first,
    without which the data are as likely. After ``solver="cg"`` or ``"ski"`` all are kept: there is no exact
    likelihood then to ask.

    Args:
        num_components: how many, or ``"auto"``.
        max_components: the most that ``"auto"`` tries.
        plane: whether the waves of several columns are plane ones; see `nonparam.kernels.Spectral`.
        mean: as for `GPRegressor`, as all that follow.
        noise: see there.
        solver: see there.
        n_restarts: see there.
        priors: see there; without them BIC stands for the evidence.
        normalize_y: see there.
        device: see there.
        random_state: see there.
        verbose: see there.

    Attributes:
        num_components_: how many components the model has.
        num_pruned_: how many more it had before idle ones were removed; ``fit_report_`` says so too.
        evidence_: by the number of components, the log evidence of each model that was fitted, in nats,
            before idle ones were removed.

    Raises:
        InputError: data or arguments that no model can be fitted to. Such are a constant ``y``, which has no
            spectrum, more components than rows, and, where ``X`` is one column, a time that occurs twice.
            With several columns equal rows are replicates, as they are to `GPRegressor`.

    Source: Wilson and Adams (2013), Gaussian process kernels for pattern discovery and extrapolation, ICML;
    evidence: MacKay (2003), Information theory, inference, and learning algorithms, chapters 27 and 28.

    Examples:
        >>> t = np.arange(80.0)[:, None]
        >>> y = np.sin(2 * np.pi * 0.11 * t[:, 0]) + 0.1 * np.cos(7.0 * t[:, 0] ** 2)
        >>> model = SpectralMixtureRegressor(1).fit(t, y)
        >>> model.components()["period"].round(1)
        array([9.1])
    """

    also_saved: ClassVar[tuple[str, ...]] = ("num_components_", "num_pruned_", "evidence_")

    def __init__(
        self,
        num_components: int | Literal["auto"] = "auto",
        *,
        max_components: int = 10,
        plane: bool = False,
        mean: Literal["zero", "constant", "linear"] = "constant",
        noise: float | ArrayLike | Literal["learn"] = "learn",
        solver: str = "auto",
        n_restarts: int = 0,
        priors: Literal["default"] | None = "default",
        normalize_y: bool = True,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            mean=mean,
            noise=noise,
            solver=solver,
            n_restarts=n_restarts,
            priors=priors,
            normalize_y=normalize_y,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.num_components = num_components
        self.max_components = max_components
        self.plane = plane

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Learn the spectrum and condition on the data; see `GPRegressor.fit`."""
        self.evidence_: dict[int, float] = {}
        best: dict[str, Any] = {}
        for count in self._counts(self._num_rows(X, y, sample_weight)):
            self._fit(spectral_mixture(count, plane=self.plane), X, y, sample_weight)
            self.num_components_ = count
            self.evidence_[count] = self.log_evidence()
            highest = max(self.evidence_, key=lambda q: self.evidence_[q])
            if highest == count:
                best = dict(vars(self))
            if count - highest >= WORSE:
                break
        self.__dict__.update(best)
        self._prune(X, y, sample_weight)
        return self

    def _num_rows(self, X: Any, y: Any, sample_weight: ArrayLike | None) -> int:
        """Return how many rows count; raise `InputError` for such as no spectrum can be learnt from."""
        x = check_table(self, X, reset=True)
        outputs = check_outputs(y, len(x)).reshape(len(x), -1)
        counted = check_weights(sample_weight, x) > 0.0
        _check_varies(outputs[counted])
        if x.shape[1] == 1:
            _check_distinct(x[counted, 0])
        return int(counted.sum())

    def _counts(self, rows: int) -> range:
        """Return the numbers of components to try."""
        check_count(self.max_components, "max_components", least=1)
        count = self.num_components
        if isinstance(count, str) and count == "auto":
            return range(1, min(self.max_components, rows) + 1)
        if not isinstance(count, int | np.integer) or isinstance(count, bool):
            raise InputError(f"num_components must be a whole number or 'auto', got {count!r}")
        if count > rows:
            raise InputError(
                f"num_components={count} is more than the {rows} rows, which cannot tell so many apart: "
                "take fewer, or 'auto'"
            )
        return range(int(count), int(count) + 1)

    def _prune(self, X: Any, y: Any, sample_weight: ArrayLike | None) -> None:
        """Remove the components that are idle, fit the others again from where they are, and report it."""
        kept, before = self._needed(), self.num_components_
        self.num_components_, self.num_pruned_ = len(kept), before - len(kept)
        if self.num_pruned_ == 0:
            return
        self._fit(Sum(*(self.kernel_.kernels[i] for i in kept)), X, y, sample_weight)
        said = f"{self.num_pruned_} of {before} components were idle and have been removed"
        self.fit_report_ = replace(self.fit_report_, message=f"{self.fit_report_.message}; {said}")
        if self.verbose:
            print(said)

    def _needed(self) -> list[int]:
        """Return which components the data are less likely without, the smallest tried first."""
        kept = list(range(self.num_components_))
        if self.posterior_.solver in ("cg", "ski") or self.fit_report_.interrupted:
            return kept
        weights = [i for i, name in enumerate(self.theta_names_) if name.endswith(".outputscale")]
        theta, highest = self.theta_, self.log_marginal_likelihood_
        for i in np.argsort(theta[weights])[: len(kept) - 1]:
            without = theta.copy()
            without[weights[i]] -= GONE
            value = self.log_marginal_likelihood(without)
            if value >= highest - IDLE:
                theta, highest = without, max(highest, value)
                kept.remove(int(i))
        return kept

    @property
    def _by_laplace(self) -> bool:
        return super()._by_laplace and len(self.posterior_.data.x) <= SEARCHED

    def log_evidence(self, prior_width: float = 1.0) -> float:
        """Return the log evidence of the number of components, in nats; see `GPRegressor.log_evidence`."""
        own = super().log_evidence(prior_width)
        return own + self._log_copies() if self._by_laplace else own

    def _log_copies(self) -> float:
        """Return how often the same mixture stands elsewhere: in other orders, and with other signs."""
        waves, span = self.components(), self._scales.x_high - self._scales.x_low
        cycles = waves["frequency"].reshape(len(waves["weight"]), -1) * span
        wide = waves["bandwidth"].reshape(cycles.shape) * span
        table = np.column_stack([waves["weight"] / self._scales.y_variance, cycles, wide])
        same = np.unique(np.round(np.log(table + TINY), 2), axis=0, return_counts=True)[1]
        moving = cycles > SLOW
        turns = int(moving.any(1).sum() if self.plane else moving.sum())
        orders = math.lgamma(len(table) + 1.0) - sum(math.lgamma(count + 1.0) for count in same)
        return orders + turns * math.log(2.0)

    def components(self) -> dict[str, Array]:
        """Return the components, the largest first.

        Returns:
            ``weight`` in units of ``y`` squared, ``frequency`` and ``bandwidth`` in cycles per unit of ``X``,
            and ``period`` in units of ``X``; with several columns all but the weight are ``(q, d)``. A wave
            that goes through less than 0.4 of a cycle in the data is a trend: its period is infinite.
        """
        check_is_fitted(self)
        parts = [(term, term.kernel) for term in self.kernel_.terms() if isinstance(term, Scale)]
        waves = [(_numbers(term.outputscale)[0], part) for term, part in parts if isinstance(part, Spectral)]
        waves.sort(key=lambda wave: -wave[0])
        frequency = np.abs([_numbers(part.frequency) for _, part in waves])
        bandwidth = np.array([_numbers(part.bandwidth) for _, part in waves])
        if frequency.shape[1] == 1:
            frequency, bandwidth = frequency[:, 0], bandwidth[:, 0]
        slow = frequency * (self._scales.x_high - self._scales.x_low) < TREND
        period = np.full_like(frequency, np.inf)
        np.divide(1.0, frequency, out=period, where=~slow)
        weight = np.array([weight for weight, _ in waves])
        return {"weight": weight, "frequency": frequency, "bandwidth": bandwidth, "period": period}

    def plot_spectrum(self, ax: Any = None) -> Any:
        """Draw the learned spectral density over the periodogram of the data; return the axes.

        Peaks are labelled with their periods in units of ``X``. Densities are one-sided, in units of ``y``
        squared times those of ``X``, as a window as long as the data shows them.

        Raises:
            InputError: a model with several columns or outputs.
        """
        from nonparam.plotting import plot_spectrum

        return plot_spectrum(self, ax)


def _check_varies(y: Array) -> None:
    if (np.ptp(y, axis=0) <= CONSTANT * np.abs(y).max(0)).all():
        raise InputError(
            f"a constant series has no spectrum: y is {y[0].squeeze()} in all of {len(y)} sample(s); "
            'take GPRegressor("constant")'
        )


def _check_distinct(times: Array) -> None:
    places, first, counts = np.unique(times, return_index=True, return_counts=True)
    if len(places) < len(times):
        time = times[first[counts > 1].min()]
        raise InputError(
            f"X holds {len(times) - len(places)} of its {len(times)} times again, first {time:.10g}: average "
            "the rows that share a time, or take GPRegressor(spectral_mixture(...)), to which they are "
            "replicates"
        )


def _numbers(value: Tensor) -> Array:
    numbers: Array = value.detach().cpu().numpy().ravel()
    return numbers
