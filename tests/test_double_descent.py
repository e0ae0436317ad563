"""Double descent: what was published comes out, and it can come out otherwise."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeCV

from nonparam.errors import InputError
from nonparam.networks import DescentReport, double_descent
from nonparam.networks.double_descent import PENALTIES, _best_penalty, _least_squares

RNG = np.random.default_rng(0)
X, Y = load_digits(return_X_y=True)


@pytest.fixture(scope="module")
def report():
    return double_descent("features", X, Y)


def test_the_published_curve_of_digits(report):
    assert 0.9 <= report.peak / report.n <= 1.2
    assert report.height >= 3.0
    losses = report.losses.mean(1)
    assert losses[-1] <= losses[report.sizes.index(report.classical)]
    assert report.sizes[-1] == 10 * report.n
    assert report.verdict.startswith("holds with conditions: the loss rises to")
    assert report.verdict.endswith("then falls about as low")


def test_rows_are_fitted_exactly_from_as_many_features_on_and_norms_follow(report):
    beyond = np.array(report.sizes) >= report.n
    assert (report.train_errors[beyond] == 0.0).all()
    assert (report.train_errors[np.array(report.sizes) < 0.7 * report.n] > 0.0).all()
    norms = report.norms.mean(1)
    assert report.sizes[int(norms.argmax())] == report.peak and norms[-1] < 0.1 * norms.max()


def test_a_penalty_takes_the_peak_away(report):
    peak = report.sizes.index(report.peak)
    assert report.ridged.mean(1)[peak] < 0.2 * report.losses.mean(1)[peak]
    assert (report.ridged.mean(1) <= 1.02 * report.losses.mean(1)).all()
    assert 1.5 < report.harm < 2.5  # fitting wrong labels exactly is not benign here


def test_the_solution_of_smallest_norm_is_the_pseudo_inverses():
    for p in (5, 40):
        phi, new = RNG.standard_normal((20, p)), RNG.standard_normal((7, p))
        own, truth = np.eye(3)[RNG.integers(0, 3, 20)], np.eye(3)[RNG.integers(0, 3, 7)]
        found, weights = _least_squares(phi, new, own, truth), np.linalg.pinv(phi) @ own
        assert found.loss == pytest.approx(np.mean((new @ weights - truth) ** 2))
        assert found.norm == pytest.approx(np.linalg.norm(weights))


def test_the_penalty_is_scikit_learns():
    phi = RNG.standard_normal((30, 12))
    own = phi[:, :2] + RNG.standard_normal((30, 2))
    left, s, _ = np.linalg.svd(phi, full_matrices=False)
    penalties = PENALTIES * np.mean(s**2)
    theirs = RidgeCV(penalties, fit_intercept=False).fit(phi, own).alpha_
    assert _best_penalty(left, s, left.T @ own, own) == pytest.approx(theirs)


def test_without_a_peak_the_claim_fails():
    flat = np.array([[0.5, 0.52], [0.4, 0.41], [0.3, 0.31], [0.2, 0.22]])
    falling = DescentReport("features", (1, 2, 3, 4), 2, 0.0, flat, flat, flat, flat, flat)
    assert falling.verdict.startswith("fails here")
    risen = np.array([[0.3, 0.31], [0.2, 0.21], [0.9, 0.95], [0.6, 0.61]])
    higher = DescentReport("features", (1, 2, 3, 4), 2, 0.0, risen, risen, risen, risen, risen)
    assert higher.verdict.endswith("then falls, but not as low") and higher.classical == 2


def test_networks_of_growing_width():
    report = double_descent("mlp", X, Y, sizes=(2, 8, 64), n=150, seeds=2)
    assert report.train_errors.mean(1)[-1] < report.train_errors.mean(1)[0]
    assert "ridged" not in report.to_frame() and report.to_frame().shape == (3, 8)
    assert isinstance(report.plot(), Figure)


def test_tables_and_pictures(report):
    frame = report.to_frame()
    assert list(frame.index) == list(report.sizes) and "ridged +/-" in frame
    assert str(report).splitlines()[0] == "features, 300 rows, 15% of the labels wrong, 5 seeds"
    assert isinstance(report.plot(), Figure)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n": 1797}, "n must leave rows to test on, got 1797 of 1797 rows"),
        ({"label_noise": 1.0}, "label_noise must be a part of the labels"),
        ({"sizes": (3, 5)}, "sizes must be three or more"),
        ({"sizes": (0, 5, 9)}, "sizes must be an integer, at least 1"),
        ({"seeds": 1}, "seeds must be an integer, at least 2"),
        ({"kind": "trees"}, "kind must be one of"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        double_descent(**({"kind": "features", "X": X, "y": Y} | arguments))
