"""What a comparison of networks of several widths found."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

__all__ = ["Predictions", "Slope", "WidthReport", "WidthRow"]

Array = NDArray[np.float64]

LEGEND = (
    "Errors of kernels are relative. To linear: from trained networks to those to first order in their",
    "weights; linear to limit, mean to limit: from the mean of either to the limit's; these and RMSE in",
    "standard deviations of y. NLL in nats per row. One: a network by itself; all: their ensemble, whose",
    "90 % intervals hold the last column.",
)
LEVEL = 0.9  # of the intervals that are counted
EXACT = 1e-12  # of an error: below it there is only rounding
DRAWS = 2000  # of seeds, for the interval of a slope
ALIKE = 0.01  # relative: errors that differ by less are the same


@dataclass(frozen=True)
class Predictions:
    """How good predictions of new rows are, in standard deviations of the outputs.

    Attributes:
        rmse: the root mean square of errors.
        nll: minus the log density of an output, in nats per row.
        coverage: how many outputs lie in 90 % intervals.
        noise: the variance that is added to that of the function.
    """

    rmse: float
    nll: float
    coverage: float
    noise: float

    @classmethod
    def of(cls, mean: Array, variance: Array, y: Array, noise: float) -> Self:
        """Judge normal predictions.

        Args:
            mean: ``(m,)``.
            variance: ``(m,)``, noise included.
            y: ``(m,)``, what came.
            noise: its variance.

        Examples:
            >>> Predictions.of(np.zeros(2), np.ones(2), np.array([1.0, -3.0]), 1.0).coverage
            0.5
        """
        sd = np.sqrt(variance)
        return cls(
            rmse=float(np.sqrt(np.mean((mean - y) ** 2))),
            nll=float(-norm.logpdf(y, mean, sd).mean()),
            coverage=float(np.mean(np.abs(y - mean) <= norm.ppf(0.5 + 0.5 * LEVEL) * sd)),
            noise=noise,
        )

    @classmethod
    def mean(cls, several: Sequence[Self]) -> Self:
        """Return the means of all figures."""
        return cls(
            *(
                float(np.mean([getattr(each, name) for each in several]))
                for name in ("rmse", "nll", "coverage", "noise")
            )
        )


@dataclass(frozen=True)
class WidthRow:
    """What was found at one width.

    Attributes:
        width: units of every hidden layer.
        nngp_errors: of the covariance at the start, relative, of each network.
        ntk_errors: of the tangent kernel, likewise.
        to_linearised: how far trained networks are from those to first order in their weights, root mean
            square over networks and rows, in standard deviations of the outputs.
        linearised_to_limit: how far the mean of the latter is from the limit's.
        ensemble_to_limit: how far the mean of the trained networks is from the limit's.
        single: predictions of a network by itself, a mean over networks.
        ensemble: those of all together.
    """

    width: int
    nngp_errors: Array
    ntk_errors: Array
    to_linearised: float
    linearised_to_limit: float
    ensemble_to_limit: float
    single: Predictions
    ensemble: Predictions


@dataclass(frozen=True)
class Slope:
    """The power of the width with which an error falls, and a 95 % interval over seeds."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return ``-0.51 (-0.55 to -0.47)``."""
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class WidthReport:
    """Finite networks beside their infinitely wide limit; prints as a table.

    Attributes:
        architecture: of all networks.
        rows: one for each width.
        limit: predictions of infinitely wide networks that were trained as long.
        counts: rows trained on, rows that tell the noise, rows predicted.
        time: of training.
    """

    architecture: str
    rows: tuple[WidthRow, ...]
    limit: Predictions
    counts: tuple[int, int, int]
    time: float

    @property
    def widths(self) -> list[int]:
        """The widths."""
        return [row.width for row in self.rows]

    @property
    def nngp_errors(self) -> Array:
        """Errors of the covariance, ``(widths, seeds)``."""
        return np.stack([row.nngp_errors for row in self.rows])

    @property
    def ntk_errors(self) -> Array:
        """Errors of the tangent kernel, ``(widths, seeds)``."""
        return np.stack([row.ntk_errors for row in self.rows])

    def slope(self, kernel: str = "ntk") -> Slope:
        """Return the slope of the logarithm of the mean error against that of the width.

        Args:
            kernel: ``"nngp"`` or ``"ntk"``.
        """
        errors = {"nngp": self.nngp_errors, "ntk": self.ntk_errors}[kernel]
        rng = np.random.default_rng(0)
        seeds = errors.shape[1]
        drawn = [
            np.stack([line[rng.integers(seeds, size=seeds)] for line in errors]).mean(1) for _ in range(DRAWS)
        ]
        logs = np.log(np.stack([errors.mean(1), *drawn], 1))
        slopes = np.polyfit(np.log(self.widths), logs, 1)[0]
        low, high = np.quantile(slopes[1:], [0.025, 0.975])
        return Slope(float(slopes[0]), float(low), float(high))

    def no_worse(self, figure: str = "rmse", of: str = "ensemble") -> list[int]:
        """Return the widths of which networks are no worse than their limit, by more than 1 %.

        Args:
            figure: ``"rmse"`` or ``"nll"``; of the latter by more than a hundredth of a nat.
            of: ``"ensemble"`` or ``"single"``.
        """
        limit = float(getattr(self.limit, figure))
        margin = ALIKE * limit if figure == "rmse" else ALIKE
        return [row.width for row in self.rows if getattr(getattr(row, of), figure) <= limit + margin]

    def crossovers(self, figure: str = "rmse", of: str = "ensemble") -> list[tuple[int, int]]:
        """Return the neighbouring widths of which one is no worse than the limit and the other one is.

        Args:
            figure: as for `no_worse`.
            of: likewise.
        """
        good = set(self.no_worse(figure, of))
        return [pair for pair in pairwise(self.widths) if len(good.intersection(pair)) == 1]

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row for each width, and one for the limit."""
        lines = {str(row.width): _line(row) for row in self.rows}
        limit = {"RMSE, all": self.limit.rmse, "NLL, all": self.limit.nll}
        lines["infinite"] = limit | {"in 90 %": self.limit.coverage}
        return pd.DataFrame.from_dict(lines, orient="index").rename_axis("width")

    def to_dict(self) -> dict[str, Any]:
        """Return the table and the slopes as JSON knows them."""
        frame = self.to_frame()
        table = [
            {"width": width, **line.dropna().to_dict()}
            for (_, line), width in zip(frame.iterrows(), [*self.widths, None], strict=True)
        ]
        slopes = {kernel: asdict(self.slope(kernel)) for kernel in ("nngp", "ntk")}
        return {"architecture": self.architecture, "widths": table, "slopes": slopes}

    def __str__(self) -> str:
        """Return the table, and what it shows."""
        trained, held, new = self.counts
        table = self.to_frame().to_string(float_format=lambda number: f"{number:.3g}", na_rep="")
        return "\n".join(
            [
                f"{self.architecture}, {self.rows[0].ntk_errors.size} networks of each width, trained on "
                f"{trained} rows, noise from {held}, {new} predicted",
                table,
                *LEGEND,
                *self.sentences(),
            ]
        )

    def sentences(self) -> list[str]:
        """Return what the table shows, in words."""
        found = [
            f"The error of the {kernel.upper()} falls as the width to the power {self.slope(kernel)}; in "
            "theory -0.5."
            if errors.min() > EXACT
            else f"The {kernel.upper()} is that of the limit at some width already, to rounding."
            for kernel, errors in (("nngp", self.nngp_errors), ("ntk", self.ntk_errors))
        ]
        for of, name in (("ensemble", "The ensemble"), ("single", "A single network")):
            for figure in ("rmse", "nll"):
                good = self.no_worse(figure, of)
                which = {0: "at no width", len(self.rows): "at every width"}
                when = which.get(len(good), f"at width {', '.join(map(str, good))}")
                found.append(f"{name} is no worse than the limit in {figure.upper()} {when}.")
        return found

    def plot(self) -> Any:
        """Draw errors, distances, test errors and calibration against the width; return the figure."""
        from nonparam.networks.width_plot import plot_widths

        return plot_widths(self)


def _line(row: WidthRow) -> dict[str, float]:
    return {
        "NNGP error": float(row.nngp_errors.mean()),
        "NTK error": float(row.ntk_errors.mean()),
        "to linear": row.to_linearised,
        "linear to limit": row.linearised_to_limit,
        "mean to limit": row.ensemble_to_limit,
        "RMSE, one": row.single.rmse,
        "RMSE, all": row.ensemble.rmse,
        "NLL, one": row.single.nll,
        "NLL, all": row.ensemble.nll,
        "in 90 %": row.ensemble.coverage,
    }
