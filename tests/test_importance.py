"""Importance sampling of integrals that are known, and of such that it cannot do."""

import numpy as np
import pytest
from scipy.special import gammaln

from nonparam.errors import InputError
from nonparam.model_selection import importance_evidence


def normal(x):
    """Log density of a normal number of variance 4 for each coordinate, times a million."""
    p = x.shape[1]
    return np.log(1e6) - np.square(x).sum(1) / 8.0 - 0.5 * p * np.log(8.0 * np.pi), -x / 4.0


@pytest.mark.parametrize("p", [1, 3, 10])
def test_a_normal_density(p):
    found = importance_evidence(normal, np.zeros(p), np.full(p, 2.0))
    assert abs(found.log_evidence - np.log(1e6)) < 4.0 * found.standard_error < 0.02
    assert 30_000 < found.effective_sample_size < 100_000


def skew(x):
    """Of the logarithm of a gamma number of shape 3: its tails are unlike."""
    return 3.0 * x[:, 0] - np.exp(x[:, 0]) - gammaln(3.0), 3.0 - np.exp(x)


def test_the_error_it_states_is_its_error():
    estimates = [importance_evidence(skew, np.log([3.0]), np.ones(1), n_draws=1000, random_state=seed)
                 for seed in range(200)]  # fmt: skip
    errors = np.array([found.log_evidence for found in estimates])  # the integral is 1
    stated = np.mean([found.standard_error for found in estimates])
    assert abs(errors.mean()) < 4.0 * stated / np.sqrt(200)
    assert errors.std() == pytest.approx(stated, rel=0.15)


def test_seeds_decide_and_batches_do_not_matter():
    first, again = (importance_evidence(skew, np.log([3.0]), np.ones(1), random_state=4) for _ in range(2))
    other = importance_evidence(skew, np.log([3.0]), np.ones(1), random_state=5)
    assert first == again != other
    odd = importance_evidence(skew, np.log([3.0]), np.ones(1), n_draws=10_001)
    assert abs(odd.log_evidence) < 4.0 * odd.standard_error


def test_half_of_the_space_may_be_forbidden():
    def half(x):
        values, slopes = normal(x)
        return np.where(x[:, 0] > -1.0, values, -np.inf), slopes

    found = importance_evidence(half, np.zeros(1), np.full(1, 2.0))
    assert found.log_evidence == pytest.approx(np.log(1e6 * 0.6914625), abs=4.0 * found.standard_error)


def test_a_point_that_is_not_the_mode_is_refused():
    with pytest.raises(InputError, match=r"100,000 draws are worth .* and 100 are needed: check that the"):
        importance_evidence(normal, np.full(5, 40.0), np.full(5, 2.0))


@pytest.mark.parametrize("value", [-np.inf, np.nan])
def test_a_density_that_is_no_number_is_refused(value):
    with pytest.raises(InputError, match=f"the largest log joint density of 100,000 draws is {value}"):
        importance_evidence(lambda x: (np.full(len(x), value), -x), np.zeros(2), np.ones(2))


@pytest.mark.parametrize("n_draws", [999, 1e4, -1, True])
def test_numbers_of_draws_that_are_none_are_refused(n_draws):
    with pytest.raises(InputError, match="n_draws must be an integer, at least 1000"):
        importance_evidence(normal, np.zeros(1), np.ones(1), n_draws=n_draws)
