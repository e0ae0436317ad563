"""What errors do as a model grows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

__all__ = ["DescentReport"]

Array = NDArray[np.float64]

LEVEL = 0.95  # of intervals over seeds


@dataclass(frozen=True)
class DescentReport:
    """Errors of models of growing size, for several seeds.

    Attributes:
        kind: ``"features"`` or ``"mlp"``.
        sizes: numbers of features, or widths, ascending.
        n: rows to train on.
        label_noise: the part of their labels that are wrong.
        train_errors: parts of these rows that are misclassified, ``(sizes, seeds)``.
        errors: the same of new rows, whose labels are right.
        losses: mean squared errors of new rows, over the classes.
        ridged: the same with the penalty that leaving out one row suggests; NaN for networks.
        norms: of the weights.

    Examples:
        >>> falls = np.array([[0.30, 0.31, 0.30], [0.90, 0.92, 0.91], [0.20, 0.21, 0.20]])
        >>> report = DescentReport("features", (1, 2, 3), 2, 0.0, falls, falls, falls, falls, falls)
        >>> report.peak, report.classical, round(report.height, 2)
        (2, 1, 3.0)
        >>> print(report.verdict)
        holds: the loss rises to 3 times its classical minimum, then falls below it
    """

    kind: str
    sizes: tuple[int, ...]
    n: int
    label_noise: float
    train_errors: Array
    errors: Array
    losses: Array
    ridged: Array
    norms: Array

    @property
    def peak(self) -> int:
        """The size with the largest loss among those that have smaller and larger ones."""
        return self.sizes[self._peak]

    @property
    def _peak(self) -> int:
        return 1 + int(self._logs.mean(1)[1:-1].argmax())

    @property
    def _logs(self) -> Array:
        """Logarithms of losses: near the peak they vary by factors from seed to seed."""
        return np.asarray(np.log(self.losses))

    @property
    def classical(self) -> int:
        """The size with the smallest loss among those below the peak."""
        return self.sizes[self._classical]

    @property
    def _classical(self) -> int:
        return int(self._logs.mean(1)[: self._peak].argmin())

    @property
    def height(self) -> float:
        """The loss at the peak in units of that at the classical minimum, a geometric mean over seeds."""
        return float(np.exp((self._logs[self._peak] - self._logs[self._classical]).mean()))

    @property
    def harm(self) -> float:
        """The loss of the largest model without a penalty, in units of that with one."""
        return float(np.exp((self._logs[-1] - np.log(self.ridged[-1])).mean()))

    @property
    def verdict(self) -> str:
        """Whether there is a second descent, by ratios of losses of the same seeds with their intervals."""
        logs = self._logs
        up, down = logs[self._peak] - logs[self._classical], logs[self._peak] - logs[-1]
        gained = logs[self._classical] - logs[-1]
        if not all(each.mean() - _half_width(each) > 0.0 for each in (up, down)):
            return "fails here: the loss has no peak between the smallest size and the largest"
        rise = f"the loss rises to {self.height:.3g} times its classical minimum, then falls"
        if gained.mean() - _half_width(gained) > 0.0:
            return f"holds: {rise} below it"
        if gained.mean() + _half_width(gained) < 0.0:
            return f"holds with conditions: {rise}, but not as low"
        return f"holds with conditions: {rise} about as low"

    def to_frame(self) -> pd.DataFrame:
        """Return means over the seeds, and half-widths of their 95 % intervals, one row for each size."""
        figures = {
            "train error": self.train_errors,
            "test error": self.errors,
            "test loss": self.losses,
            "ridged": self.ridged,
            "norm": self.norms,
        }
        columns: dict[str, Any] = {"size": self.sizes}
        for name, table in figures.items():
            columns |= {name: table.mean(1), f"{name} +/-": [_half_width(row) for row in table]}
        return pd.DataFrame(columns).dropna(axis=1, how="all").set_index("size")

    def __str__(self) -> str:
        """Return the table and the verdict."""
        head = f"{self.kind}, {self.n} rows, {self.label_noise:.0%} of the labels wrong, "
        return f"{head}{self.losses.shape[1]} seeds\n{self.to_frame().round(4)}\n{self.verdict}"

    def plot(self) -> Any:
        """Draw losses, errors and norms against the size; return the figure."""
        import matplotlib.pyplot as plt  # chooses a backend: only where a figure is to be made

        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13.0, 3.8), layout="constrained")
        curves = [(left, self.losses, "smallest norm" if self.kind == "features" else "network", "C0")]
        if np.isfinite(self.ridged).all():
            curves.append((left, self.ridged, "with a penalty", "C1"))
        curves += [
            (middle, self.errors, "new rows", "C0"),
            (middle, self.train_errors, "training rows", "C2"),
        ]
        for ax, table, label, color in [*curves, (right, self.norms, "", "C0")]:
            self._draw(ax, table, label, color)
        left.set(yscale="log", title="Squared error of new rows")
        middle.set(title="Part misclassified")
        right.set(yscale="log", title="Norm of the weights")
        for ax in (left, middle):
            ax.legend(fontsize=8)
        figure.suptitle(f"{self.n} rows, {self.label_noise:.0%} wrong labels: {self.verdict}", fontsize=9)
        return figure

    def _draw(self, ax: Any, table: Array, label: str, color: str) -> None:
        mean, half = table.mean(1), np.array([_half_width(row) for row in table])
        ax.plot(self.sizes, mean, "o-", color=color, label=label, ms=3)
        ax.fill_between(self.sizes, np.maximum(mean - half, 1e-3 * mean), mean + half, color=color, alpha=0.2)
        ax.set(xscale="log", xlabel="features" if self.kind == "features" else "width")
        if self.kind == "features":
            ax.axvline(self.n, color="gray", lw=0.8)


def _half_width(values: Array) -> float:
    """Return half of the 95 % interval of a mean over seeds ``(s,)``, by Student's t."""
    s = len(values)
    return float(student.ppf(0.5 + 0.5 * LEVEL, s - 1) * values.std(ddof=1) / np.sqrt(s))
