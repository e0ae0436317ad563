"""What regression and classification with networks of finite width share: arguments and training."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels import InfiniteNetwork
from nonparam.kernels.activations import Activation
from nonparam.kernels.layers import mlp
from nonparam.networks.finite import PARAMETERIZATIONS, FiniteNetwork
from nonparam.networks.finite_laplace import check_laplace
from nonparam.networks.folds import folds, others
from nonparam.networks.members import Members
from nonparam.networks.memory import check_training, count_weights
from nonparam.networks.swa import WeightAverage
from nonparam.networks.swag import RANK, WeightMoments
from nonparam.networks.trained import Trained
from nonparam.networks.training import Recipe, Rows, auto_rate, rate_factors, train
from nonparam.progress import Tally
from nonparam.scales import CONSTANT
from nonparam.validation import check_choice, check_count, check_numbers, check_table, check_verbose

__all__ = ["PRECISIONS", "FiniteNetworkEstimator", "draw_seeds"]

Array = NDArray[np.float64]

AVERAGES = (None, "swa", "swag", "multiswag", "laplace")
GAUSSIANS = ("swag", "multiswag")  # from moments of the weights
OPTIMIZERS = ("sgd", "adam")
TINY = 1e-30  # a learning rate must be positive
FEWEST_FOR_MOMENTS = 5
STEPS, FEWEST_EPOCHS = 1500, 30  # of a training whose length was not given
PRECISIONS = tuple(np.geomspace(1e-4, 1e6, 41).tolist())  # of the prior of Laplace's approximation
MIXED = 5  # networks of a mixture, unless another number is asked for


class FiniteNetworkEstimator(BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    """Networks of finite width that are trained side by side."""

    def __init__(
        self,
        hidden: Sequence[int] = (256, 256),
        *,
        activation: str | Activation = "relu",
        parameterization: Literal["ntk", "standard", "mup"] = "standard",
        ensemble: int | None = None,
        average: Literal["swa", "swag", "multiswag", "laplace"] | None = None,
        batch_size: int | Literal["full"] = 50,
        optimizer: Literal["sgd", "adam"] = "sgd",
        lr: float | Literal["auto"] = "auto",
        epochs: int | Literal["auto"] = "auto",
        weight_decay: float = 1e-3,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.parameterization = parameterization
        self.ensemble = ensemble
        self.average = average
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.epochs = epochs
        self.weight_decay = weight_decay
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @staticmethod
    def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of the rows, ``(m,)``."""
        raise NotImplementedError

    def _check_arguments(self) -> None:
        hidden = self.hidden if isinstance(self.hidden, Sequence | np.ndarray) else ()
        if isinstance(self.hidden, str) or not len(hidden):
            raise InputError(f"hidden must be the widths of one or more layers, got {self.hidden!r}")
        for width in hidden:
            check_count(width, "each width in hidden", least=1)
        mlp(self.activation, len(hidden))
        check_choice(self.parameterization, "parameterization", PARAMETERIZATIONS)
        check_choice(self.average, "average", AVERAGES)
        check_choice(self.optimizer, "optimizer", OPTIMIZERS)
        if self.ensemble is not None:
            check_count(self.ensemble, "ensemble", least=1)
        if not isinstance(self.batch_size, str) or self.batch_size != "full":
            check_count(self.batch_size, "batch_size (or 'full')", least=1)
        if not isinstance(self.epochs, str) or self.epochs != "auto":
            check_count(self.epochs, "epochs (or 'auto')", least=1)
            if self.average in GAUSSIANS and self.epochs < FEWEST_FOR_MOMENTS:
                raise InputError(
                    f"average={self.average!r} needs {FEWEST_FOR_MOMENTS} epochs or more, for moments "
                    f"of the weights of the last ones; got epochs={self.epochs}"
                )
        if not isinstance(self.lr, str) or self.lr != "auto":
            _check_number(self.lr, "lr", TINY)
        _check_number(self.weight_decay, "weight_decay", 0.0)
        check_verbose(self.verbose)

    @property
    def _count(self) -> int:
        """How many networks there are."""
        usual = MIXED if self.average == "multiswag" else 1
        return usual if self.ensemble is None else int(self.ensemble)

    def _epochs(self, n: int) -> int:
        """Return how often ``n`` rows are passed over."""
        if self.epochs != "auto":
            return int(self.epochs)
        steps = 1 if self.batch_size == "full" else max(round(n / int(self.batch_size)), 1)
        return max(math.ceil(STEPS / steps), FEWEST_EPOCHS)

    def _scale(self, x: Array) -> None:
        """Learn the centre and the spread of the columns of ``x (n, d)``."""
        self._centre, spread = x.mean(0), x.std(0)
        self._spread = np.where(spread > CONSTANT * np.abs(x).max(0), spread, 1.0)

    def _rows(self, x: Array) -> Tensor:
        """Return rows as networks see them, ``(n, d)``."""
        return torch.from_numpy((x - self._centre) / self._spread).float().to(self._device)

    def _new_rows(self, X: Any) -> Tensor:
        return self._rows(check_table(self, X, reset=False))

    def _train(
        self, x: Tensor, y: Tensor, used: Tensor, outputs: int, seeds: list[int], tally: Tally
    ) -> Trained:
        """Train one network for each row of ``used (m, r)``, the numbers of the rows that it sees."""
        members = self._members(x.shape[1], outputs, used, seeds)
        rows = Rows(x, y, used.to(x.device), seeds)
        recipe = Recipe(
            epochs=self._epochs(len(x)),
            batch_size=None if self.batch_size == "full" else int(self.batch_size),
            optimizer=self.optimizer,
            lr=1.0 if self.lr == "auto" else float(self.lr),
            weight_decay=float(self.weight_decay),
            factors=rate_factors(members, self.parameterization, self.optimizer),
            averaged=self.average in ("swa", *GAUSSIANS),
        )
        if self.lr == "auto":
            rate = auto_rate(members, rows, self._loss, self.parameterization, recipe)
            recipe = replace(recipe, lr=rate)
        report, found = train(members, rows, self._loss, recipe, self._averaging, tally)
        if report.retries and self.lr != "auto":
            warnings.warn(
                f"the loss exploded, or all units died, at lr={self.lr:g}: it was lowered {report.retries} "
                f"times, to {report.lr:.2g}; take lr='auto', or a lower rate",
                ConvergenceWarning,
                stacklevel=4,
            )
        if isinstance(found, WeightAverage):
            members = found.mean()
        moments = found if isinstance(found, WeightMoments) else None
        return Trained(members.requires_grad_(False), report, seeds[0], moments)

    def _left_out(
        self, x: Tensor, y: Tensor, outputs: int, each: int, rng: np.random.RandomState, tally: Tally
    ) -> tuple[Trained, Tensor, Tensor]:
        """Train ``each`` networks without each of several parts of the rows.

        Returns:
            The networks; the numbers of the rows that each of them did not see, ``(m, h)``, and of those that
            it did, ``(m, n - h)``.
        """
        held = folds(len(x), rng).repeat_interleave(each, 0)
        kept = torch.stack([others(rows, len(x)) for rows in held])
        trained = self._train(x, y, kept, outputs, draw_seeds(rng, len(held)), tally)
        return trained, held.to(x.device), kept.to(x.device)

    def _averaging(self, members: Members) -> WeightAverage | WeightMoments | None:
        if self.average == "swa":
            return WeightAverage(members)
        return WeightMoments() if self.average in GAUSSIANS else None

    def _members(self, inputs: int, outputs: int, used: Tensor, seeds: list[int]) -> Members:
        """Return networks at their start."""
        widths = [int(width) for width in self.hidden]
        batch = used.shape[1] if self.batch_size == "full" else int(self.batch_size)
        snapshots = RANK + 2 if self.average in GAUSSIANS else 0
        layers = [inputs, *widths, outputs]
        check_training(len(seeds), layers, batch, snapshots, self._device)
        if self.average == "laplace":
            check_laplace(len(seeds), count_weights(layers), used.shape[1], outputs, self._device)
        kernel = InfiniteNetwork(mlp(self.activation, len(widths)), center=0.0, spread=1.0)
        networks = [
            FiniteNetwork(
                kernel,
                inputs,
                widths,
                outputs=outputs,
                parameterization=self.parameterization,
                seed=seed,
            )
            for seed in seeds
        ]
        return Members([network.float().to(self._device) for network in networks])


def draw_seeds(rng: np.random.RandomState, count: int) -> list[int]:
    """Return seeds of so many networks.

    Examples:
        >>> len(draw_seeds(np.random.RandomState(0), 3))
        3
    """
    return [int(seed) for seed in rng.randint(2**31 - 1, size=count)]


def _check_number(value: Any, name: str, least: float) -> None:
    also = " (or 'auto')" if name == "lr" else ""
    number = np.zeros(1) if isinstance(value, str) else check_numbers(value, name)
    if number.ndim or isinstance(value, bool | np.bool_) or not least <= number < np.inf:
        raise InputError(f"{name} must be a number, at least {least:g}{also}; got {value!r}")
