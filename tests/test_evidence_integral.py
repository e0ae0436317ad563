"""The evidence of a model over its hyperparameters against quadrature with the model written out."""

import numpy as np
import pytest
from brute_force import BruteForce, model_with, rows
from sklearn.exceptions import NotFittedError

from nonparam import GPRegressor, HyperparameterAverage
from nonparam.errors import InputError
from nonparam.kernels import RBF, Scale
from nonparam.model_selection import laplace_evidence

POINTS = {1: 601, 2: 41, 3: 19}


def draw(n, span):
    """A function of the model's own kind: one whose hyperparameters the rows determine."""
    rng = np.random.default_rng(2)
    X = np.sort(rng.uniform(0.0, span, n))[:, None]
    covariance = np.exp(-0.5 * (X - X.T) ** 2) + 0.04 * np.eye(n)
    return X, np.linalg.cholesky(covariance) @ rng.standard_normal(n)


def narrow(model):
    """Six standard deviations of Laplace's approximation."""
    return 6.0 * np.sqrt((model._laplace().root ** 2).sum(1))


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize(("mean", "error"), [("zero", 0.03), ("constant", 0.07)])
def test_it_is_near_quadrature_where_data_determine_the_hyperparameters(p, mean, error):
    X, y = draw(100, span=50.0)
    model = model_with(p, mean).fit(X, y)
    exact = BruteForce(model, X, y, points=POINTS[p], wide=narrow(model)).log_evidence
    assert laplace_evidence(model) == pytest.approx(exact, abs=error)
    assert laplace_evidence(model) == model.log_evidence()


@pytest.mark.parametrize(("p", "n"), [(1, 8), (2, 8), (3, 8), (3, 12)])
@pytest.mark.parametrize("mean", ["zero", "constant"])
def test_with_few_rows_it_is_as_far_off_as_its_docstring_says_and_nodes_correct_it(p, n, mean):
    X, y = rows(n, seed=n)
    model = model_with(p, mean).fit(X, y)
    exact = BruteForce(model, X, y, points={1: 601, 2: 121, 3: 51}[p]).log_evidence
    assert -0.7 < laplace_evidence(model) - exact < 0.05
    grid = HyperparameterAverage(model, "grid").fit(X, y)
    assert grid.log_evidence() == pytest.approx(exact, abs=0.01)
    draws = HyperparameterAverage(model, "laplace", n_draws=512).fit(X, y)
    assert draws.log_evidence() == pytest.approx(exact, abs=0.1)


def test_it_does_not_depend_on_the_unit_of_the_inputs_and_shifts_with_that_of_the_outputs():
    X, y = rows(30)
    model = GPRegressor("rbf", mean="zero")
    found = laplace_evidence(model.fit(X, y))
    assert laplace_evidence(model.fit(1e3 * X, y)) == pytest.approx(found, abs=1e-5)
    assert laplace_evidence(model.fit(X, 1e3 * y)) == pytest.approx(found - 30 * np.log(1e3), abs=1e-5)


@pytest.mark.parametrize("priors", ["default", None])
def test_with_nothing_to_learn_it_is_the_marginal_likelihood(priors):
    kernel = Scale(RBF(1.0, fixed=("lengthscale",)), 1.0, fixed=("outputscale",))
    X, y = rows(12)
    for mean in ("zero", "constant"):
        model = GPRegressor(kernel, noise=0.1, mean=mean, priors=priors).fit(X, y)
        assert laplace_evidence(model) == pytest.approx(model.joint_density().log_density(), abs=1e-10)


def test_improper_priors_are_refused_with_the_reason():
    model = GPRegressor("rbf", priors=None).fit(*rows(12))
    with pytest.raises(InputError, match=r"flat prior of its 3 hyperparameters is improper.*is BIC"):
        laplace_evidence(model)


def test_a_model_without_curvature_is_refused(monkeypatch):
    model = GPRegressor("rbf").fit(*rows(12))
    monkeypatch.setattr(GPRegressor, "_by_laplace", False)  # as after conjugate gradients on many rows
    with pytest.raises(InputError, match=r"no curvature .* 12 rows after solver='.*BIC"):
        laplace_evidence(model)


def test_other_objectives_and_unfitted_models_are_refused():
    with pytest.raises(InputError, match="fit with objective='lml'"):
        laplace_evidence(GPRegressor("rbf", objective="loo").fit(*rows(12)))
    with pytest.raises(NotFittedError):
        laplace_evidence(GPRegressor("rbf"))
