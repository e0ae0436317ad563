"""The average of weights is the mean of the kept iterates."""

import pytest
import torch

from nonparam.networks.members import Members
from nonparam.networks.swa import WeightAverage
from nonparam.networks.training import Recipe, Rows, train
from nonparam.progress import Tally

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(30, 3, generator=GENERATOR)
Y = X @ torch.randn(3, 1, generator=GENERATOR)


class Kept(WeightAverage):
    """Keeps what it averages."""

    def __init__(self, members):
        super().__init__(members)
        self.kept = []

    def collect(self, members):
        super().collect(members)
        self.kept.append(members.flat())


@pytest.mark.parametrize(("epochs", "kept"), [(1, 1), (2, 1), (10, 4), (100, 40)])
def test_mean_of_the_last_two_fifths_of_the_epochs(epochs, kept):
    members = Members([torch.nn.Linear(3, 1), torch.nn.Linear(3, 1)])
    rows = Rows(X, Y, torch.arange(30).expand(2, 30), [0, 1])
    recipe = Recipe(epochs, 10, "sgd", 0.01, 0.0, [1.0, 1.0], averaged=True)
    with Tally(False, epochs, "epochs") as tally:
        _, found = train(members, rows, lambda f, y: (f - y).square().mean((1, 2)), recipe, Kept, tally)
    assert len(found.kept) == kept
    torch.testing.assert_close(found.mean().flat(), torch.stack(found.kept).mean(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.kept[-1], members.flat())


def test_mean_is_of_its_own():
    """Training on leaves it as it is."""
    members = Members([torch.nn.Linear(3, 1)])
    average = WeightAverage(members)
    average.collect(members)
    before = average.mean().flat()
    members.assign(members.flat() + 1.0)
    torch.testing.assert_close(average.mean().flat(), before)
