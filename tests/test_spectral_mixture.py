"""Spectral mixtures: the kernel beside GPyTorch's, where the search starts, and the number of components."""

import pickle

import gpytorch
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from nonparam import GPRegressor, SpectralMixtureRegressor, fitting, newton
from nonparam import spectral_mixture as spectral_mixture_module
from nonparam.errors import InputError
from nonparam.kernels import (
    RBF,
    Scale,
    Spectral,
    covariance,
    separable_spectral_mixture,
    spectral_mixture,
)
from nonparam.mixtures import components_that_wait, started, ways_to_start
from nonparam.spectrum import Peaks

T = np.arange(120.0)[:, None]
TRUE = (0.0907, 0.2713)
WAVES = np.sin(2 * np.pi * TRUE[0] * T[:, 0]) + 0.6 * np.cos(2 * np.pi * TRUE[1] * T[:, 0])
Y = WAVES + 0.2 * np.random.default_rng(0).standard_normal(120)


def mixture(weights, frequencies, bandwidths, plane=False):
    parts = zip(weights, frequencies, bandwidths, strict=True)
    first, *rest = [Scale(Spectral(f, b, plane=plane), w) for w, f, b in parts]
    return sum(rest, first)


def peaks(*frequencies):
    count = len(frequencies)
    return Peaks(np.array(frequencies), np.full(count, 0.01), np.arange(count, 0.0, -1.0))


# the kernel -----------------------------------------------------------------------------------


def test_several_columns_are_another_kernel_than_gpytorchs():
    """GPyTorch multiplies sums over components, column by column; with one component both agree."""
    x = torch.from_numpy(np.random.default_rng(1).uniform(size=(7, 2)))
    weights, frequencies = [0.5, 2.0], [[0.7, 0.2], [0.1, 1.1]]
    bandwidths = [[0.2, 0.3], [0.05, 0.1]]
    for count, agree in ((1, True), (2, False)):
        theirs = gpytorch.kernels.SpectralMixtureKernel(num_mixtures=count, ard_num_dims=2).double()
        # the weight counts once for each column there
        theirs.initialize(
            mixture_weights=torch.tensor(weights[:count]).double().sqrt(),
            mixture_means=torch.tensor(frequencies[:count]).double()[:, None],
            mixture_scales=torch.tensor(bandwidths[:count]).double()[:, None],
        )
        ours = covariance(mixture(weights[:count], frequencies[:count], bandwidths[:count]), x).detach()
        assert torch.allclose(ours, theirs(x).to_dense().detach(), atol=1e-6) is agree
    separable = [
        sum(
            w**0.5 * np.exp(-2 * (np.pi * b[j] * lag) ** 2) * np.cos(2 * np.pi * f[j] * lag)
            for w, f, b in zip(weights, frequencies, bandwidths, strict=True)
        )
        for j, lag in enumerate((x[:, None] - x).numpy().transpose(2, 0, 1))
    ]
    np.testing.assert_allclose(theirs(x).to_dense().detach(), separable[0] * separable[1], atol=1e-6)


def test_both_forms_agree_on_one_column_and_differ_on_two():
    x = torch.from_numpy(np.random.default_rng(1).uniform(size=(6, 2)))
    for columns, agree in ((1, True), (2, False)):
        forms = [
            covariance(mixture([1.5], [[0.7, 0.4][:columns]], [[0.1, 0.2][:columns]], plane), x[:, :columns])
            for plane in (False, True)
        ]
        assert torch.allclose(*forms, atol=1e-12) is agree
        for matrix in forms:
            assert torch.linalg.eigvalsh(matrix.detach()).min() > -1e-10


def test_a_product_of_cosines_is_the_mean_of_plane_waves_of_all_signs():
    x = torch.from_numpy(np.random.default_rng(2).uniform(size=(6, 2)))
    product = covariance(Spectral([0.7, 0.4], [0.1, 0.2]), x)
    plane = [covariance(Spectral([0.7, s], [0.1, 0.2], plane=True), x) for s in (0.4, -0.4)]
    torch.testing.assert_close(product, 0.5 * (plane[0] + plane[1]))


def test_the_separable_form_is_a_product_of_mixtures_of_one_column():
    kernel = separable_spectral_mixture(2, 2)
    assert [components_that_wait(part) for part in kernel.kernels] == [2, 2]
    assert [part.kernels[0].kernel.active_dims.tolist() for part in kernel.kernels] == [[0], [1]]


@pytest.mark.parametrize("count", [0, -1, 1001])
def test_a_number_of_components_that_is_none(count):
    with pytest.raises(InputError, match=f"num_components must be from 1 to 1,000, got {count}"):
        spectral_mixture(count)


def test_a_number_of_components_may_be_one_of_numpy():
    assert repr(spectral_mixture(np.int64(2))) == repr(spectral_mixture(2))
    assert repr(separable_spectral_mixture(np.int64(2), np.int64(2))) == repr(
        separable_spectral_mixture(2, 2)
    )


def test_counts_that_are_no_whole_numbers():
    with pytest.raises(InputError, match=r"num_components must be a whole number, got 2\.5"):
        spectral_mixture(2.5)
    with pytest.raises(InputError, match="columns must be a whole number of at least 1, got 0"):
        separable_spectral_mixture(2, 0)
    with pytest.raises(InputError, match="bandwidth must be positive and finite, got 0"):
        Spectral(0.5, 0.0)


# where the search starts ----------------------------------------------------------------------


def test_components_take_the_peaks_in_turn_and_what_is_given_stays():
    kernel = Scale(Spectral(0.33)) + spectral_mixture(3) + RBF()
    given = started(kernel, [peaks(0.1, 0.2)])
    frequencies = [part.kernel.value("frequency") for part in given.kernels[:4]]
    assert frequencies == [0.33, 0.2, 0.1, 0.2]
    assert components_that_wait(kernel) == 3 and components_that_wait(given) == 0
    assert given.kernels[4].unset == {"lengthscale"}
    assert kernel.kernels[1].kernel.unset == {"frequency", "bandwidth"}  # the one given is not touched


def test_each_column_has_its_own_peaks():
    given = started(spectral_mixture(1), [peaks(0.1), peaks(0.4)])
    assert given.kernels[0].kernel.value("frequency") == [0.1, 0.4]
    separable = started(separable_spectral_mixture(1, 2), [peaks(0.1), peaks(0.4)])
    assert [part.kernels[0].kernel.value("frequency") for part in separable.kernels] == [0.1, 0.4]


@pytest.mark.parametrize("irregular", [False, True])
def test_a_regressor_finds_the_frequencies(irregular):
    t = np.sort(np.random.default_rng(3).uniform(0.0, 120.0, (120, 1)), 0) if irregular else T
    y = np.sin(2 * np.pi * TRUE[0] * t[:, 0]) + 0.6 * np.cos(2 * np.pi * TRUE[1] * t[:, 0])
    y = 1e3 + 50.0 * (y + 0.2 * np.random.default_rng(4).standard_normal(120))
    model = SpectralMixtureRegressor(2, random_state=0).fit(t / 12.0, y)
    found = np.sort(model.components()["frequency"]) / 12.0
    np.testing.assert_allclose(found, TRUE, rtol=0.01)
    assert model.noise_ == pytest.approx((0.2 * 50.0) ** 2, rel=0.5)
    np.testing.assert_allclose(model.components()["period"] * model.components()["frequency"], 1.0)


def test_it_extrapolates():
    model = SpectralMixtureRegressor(2).fit(T[:80], Y[:80])
    mean, sd = model.predict(T[80:], return_std=True)
    assert np.sqrt(np.mean((mean - WAVES[80:]) ** 2)) < 0.15
    assert (sd < 0.4).all()
    flat = GPRegressor("rbf").fit(T[:80], Y[:80]).predict(T[80:])
    assert np.sqrt(np.mean((flat - WAVES[80:]) ** 2)) > 0.5


def test_frequencies_stay_below_nyquists_limit():
    model = SpectralMixtureRegressor(3, random_state=0).fit(T, np.random.default_rng(1).standard_normal(120))
    assert (model.components()["frequency"] <= 0.5 + 1e-9).all()


def test_the_search_is_a_function_of_its_seed():
    first, second = (SpectralMixtureRegressor(2, random_state=1, n_restarts=1).fit(T, Y) for _ in range(2))
    np.testing.assert_array_equal(first.theta_, second.theta_)


# how many components --------------------------------------------------------------------------


def test_the_evidence_counts_the_components():
    model = SpectralMixtureRegressor(max_components=5, random_state=0).fit(T, Y)
    assert model.num_components_ == 2 == len(model.components()["weight"])
    assert max(model.evidence_, key=model.evidence_.get) == 2 and set(model.evidence_) == {1, 2, 3, 4}
    again = SpectralMixtureRegressor(2, random_state=0).fit(T, Y)
    np.testing.assert_allclose(model.predict(T[:9] + 0.5), again.predict(T[:9] + 0.5), rtol=1e-6)


def test_without_priors_bic_counts_them():
    model = SpectralMixtureRegressor(max_components=3, priors=None, random_state=0).fit(T, Y)
    penalty = 0.5 * len(model.theta_) * np.log(120.0)
    best = model.evidence_[model.num_components_]
    assert best == pytest.approx(model.log_marginal_likelihood_ - penalty)


@pytest.mark.parametrize(
    ("unit", "origin"), [(1e-12, 0.0), (1e9, 0.0), (8.64e13, 0.0), (1.0, 1.7e9)], ids=str
)
def test_the_model_is_the_same_in_any_unit_of_time(unit, origin):
    x, y = origin + unit * T, Y[:80] + 0.05 * T[:80, 0]
    first = SpectralMixtureRegressor(3, random_state=0).fit(T[:80], y)
    second = SpectralMixtureRegressor(3, random_state=0).fit(x[:80], y)
    found, expected = second.components(), first.components()
    np.testing.assert_allclose(found["frequency"] * unit, expected["frequency"], rtol=1e-3, atol=1e-5)
    assert second.evidence_[3] == pytest.approx(first.evidence_[3], abs=0.01)
    np.testing.assert_allclose(second.predict(x), first.predict(T), atol=1e-3)


@pytest.mark.parametrize("units", [(8.64e13, 1e-7), (1e-12, 1e8)], ids=str)
def test_copies_of_a_mixture_are_counted_in_any_unit(units):
    model = SpectralMixtureRegressor(2).fit(units[0] * T[:60], units[1] * Y[:60])
    assert model._log_copies() == pytest.approx(np.log(8.0))  # two orders, and two signs of each


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_components": 0}, "num_components must be from 1 to 1,000, got 0"),
        ({"num_components": "many"}, "num_components must be a whole number or 'auto', got 'many'"),
        ({"num_components": 2.5}, r"num_components must be a whole number or 'auto', got 2\.5"),
        ({"num_components": True}, "num_components must be a whole number or 'auto', got True"),
        ({"num_components": None}, "num_components must be a whole number or 'auto', got None"),
        ({"max_components": 0}, "max_components must be an integer, at least 1; got 0"),
    ],
)
def test_arguments_that_make_no_sense(changes, said):
    with pytest.raises(InputError, match=said):
        SpectralMixtureRegressor(**changes).fit(T, Y)


def test_a_line_has_no_waves():
    y = np.arange(20.0)
    model = SpectralMixtureRegressor(max_components=2).fit(T[:20], y)
    mean, sd = model.predict(T[:20], return_std=True)
    assert np.isfinite(sd).all()
    np.testing.assert_allclose(mean, y, atol=2.0)


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (np.zeros(20), r"y is 0\.0 in all of 20 sample"),
        (np.full(20, 3.0) + 1e-15 * Y[:20], r"y is 3\.0\d* in all of 20 sample"),
        (np.tile([3.0, 5.0], (20, 1)), r"y is \[3\. 5\.\] in all of 20 sample"),
        (np.ones(1), r"y is 1\.0 in all of 1 sample"),
    ],
    ids=["zeros", "up to rounding", "two outputs", "one row"],
)
def test_a_constant_series_has_no_spectrum(y, said):
    with pytest.raises(InputError, match=f'no spectrum: {said}.*take GPRegressor."constant".'):
        SpectralMixtureRegressor().fit(T[: len(y)], y)
    np.testing.assert_allclose(GPRegressor("constant").fit(T[: len(y)], y).predict(T[: len(y)]), y, atol=1e-6)


def test_rows_without_weight_make_no_series_vary():
    with pytest.raises(InputError, match=r"y is 2\.0 in all of 19 sample"):
        SpectralMixtureRegressor().fit(T[:20], np.r_[np.full(19, 2.0), 5.0], np.r_[np.ones(19), 0.0])


def test_one_of_two_outputs_may_be_constant():
    model = SpectralMixtureRegressor(1).fit(T[:40], np.column_stack([np.full(40, 3.0), Y[:40]]))
    assert model.components()["frequency"] == pytest.approx(TRUE[0], rel=0.02)


def test_more_components_than_rows():
    with pytest.raises(InputError, match=r"num_components=8 is more than the 5 rows.*take fewer, or 'auto'"):
        SpectralMixtureRegressor(8).fit(T[:5], Y[:5])
    model = SpectralMixtureRegressor().fit(T[:3], Y[:3])  # "auto" tries no more than there are rows
    assert max(model.evidence_) <= 3 and np.isfinite(model.predict(T[:9])).all()


def irregular_again():
    """Irregular times, two of them once or twice more."""
    t = np.sort(np.random.default_rng(2).uniform(0.0, 60.0, 60)).round(3)
    return np.r_[t, t[5], t[2], t[5]][:, None], np.r_[WAVES[:60], WAVES[5] + 0.1, WAVES[2], WAVES[5]]


def test_times_that_occur_again_are_refused():
    t, y = irregular_again()
    with pytest.raises(
        InputError,
        match=f"X holds 3 of its 63 times again, first {t[2, 0]:g}: average the rows that share a time, "
        r"or take GPRegressor\(spectral_mixture",
    ):
        SpectralMixtureRegressor(2).fit(t, y)
    weights = np.r_[np.ones(60), np.zeros(3)]  # rows that do not count
    assert np.isfinite(SpectralMixtureRegressor(1).fit(t, y, weights).predict(T)).all()


def test_what_is_advised_for_times_that_occur_again():
    t = np.repeat(T[:80], 2, 0)
    y = np.repeat(WAVES[:80], 2) + 0.2 * np.random.default_rng(0).standard_normal(160)
    merged = SpectralMixtureRegressor(2).fit(T[:80], y.reshape(80, 2).mean(1))
    replicates = GPRegressor(spectral_mixture(2)).fit(t, y)
    found = [part.kernel.value("frequency") for part in replicates.kernel_.kernels]
    for frequencies in (merged.components()["frequency"], found):
        np.testing.assert_allclose(np.sort(frequencies), TRUE, rtol=0.03)


def test_equal_rows_of_several_columns_are_replicates():
    X = np.random.default_rng(1).uniform(size=(30, 2))
    y, times = np.sin(12.0 * X[:, 0]), np.random.default_rng(0).integers(1, 4, 30)
    repeated = SpectralMixtureRegressor(1).fit(np.repeat(X, times, 0), np.repeat(y, times))
    weighted = SpectralMixtureRegressor(1).fit(X, y, times)
    np.testing.assert_allclose(repeated.predict(X), weighted.predict(X), rtol=1e-6, atol=1e-7)


def test_it_is_an_estimator_of_scikit_learn(tmp_path):
    model = SpectralMixtureRegressor(2, plane=True, random_state=3)
    assert clone(model).get_params() == model.get_params() and "kernel" not in model.get_params()
    model.fit(T, Y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(T), model.predict(T))


# idle components ------------------------------------------------------------------------------


def test_idle_components_are_removed_and_reported():
    model = SpectralMixtureRegressor(8, random_state=0).fit(T[:80], Y[:80])
    left = model.num_components_
    assert 2 <= left < 8 and len(model.components()["weight"]) == left
    assert model.num_pruned_ == 8 - left
    said = f"{model.num_pruned_} of 8 components were idle and have been removed"
    assert model.fit_report_.message.endswith(said)
    found = model.components()["frequency"]
    assert all(np.abs(found / f - 1.0).min() < 0.01 for f in TRUE)
    assert SpectralMixtureRegressor(2, random_state=0).fit(T[:80], Y[:80]).num_pruned_ == 0


@pytest.mark.parametrize("priors", ["default", None])
def test_data_are_less_likely_without_any_component_that_stays(priors):
    model = SpectralMixtureRegressor(4, priors=priors, random_state=0).fit(T, Y)
    weights = [i for i, name in enumerate(model.theta_names_) if name.endswith("outputscale")]
    assert len(weights) == model.num_components_
    if len(weights) > 1:
        for i in weights:
            without = model.theta_.copy()
            without[i] -= 40.0
            assert model.log_marginal_likelihood(without) < model.log_marginal_likelihood_ - 0.05


# many rows ------------------------------------------------------------------------------------


def test_many_rows_of_a_regular_series_are_searched_on_subsets_first(monkeypatch):
    """As beyond 4,000 rows, with thresholds that 600 pass: Levinson's recursion takes the last steps."""
    for module in (fitting, spectral_mixture_module):
        monkeypatch.setattr(module, "SEARCHED", 300)
    monkeypatch.setattr(newton, "SUBSETS", (120, 250))
    t = np.arange(600.0)[:, None]
    y = np.sin(2 * np.pi * 0.0613 * t[:, 0]) + 0.5 * np.cos(2 * np.pi * 0.4011 * t[:, 0])
    y += 0.3 * np.random.default_rng(0).standard_normal(len(t))
    model = SpectralMixtureRegressor(2, solver="toeplitz", random_state=0).fit(t, y)
    np.testing.assert_allclose(model.components()["frequency"], [0.0613, 0.4011], rtol=1e-3)
    assert model.fit_report_.converged and "promises next to nothing" in model.fit_report_.message
    assert model.noise_ == pytest.approx(0.09, rel=0.15)
    bic = model.log_marginal_likelihood_ - 0.5 * len(model.theta_) * np.log(600.0)
    assert model.evidence_[2] == pytest.approx(bic)
    whole = SpectralMixtureRegressor(2, solver="cholesky", random_state=0)
    monkeypatch.setattr(fitting, "SEARCHED", 4000)
    top = whole.fit(t, y).fit_report_.objective
    assert model.fit_report_.objective == pytest.approx(
        top, abs=0.1
    )  # the last step promised 0.05, by a subset's curvature


def test_lines_of_a_grid_show_a_wave_whose_sign_changes_between_them():
    x = np.stack(np.meshgrid(np.arange(24.0), np.arange(20.0), indexing="ij"), -1).reshape(-1, 2)
    x = x[np.random.default_rng(1).permutation(len(x))]
    y = np.cos(2 * np.pi * 0.17 * x[:, 0]) * np.cos(2 * np.pi * 0.31 * x[:, 1])
    narrow = ways_to_start(x, y[:, None], np.ones(len(x)), 1, np.random.RandomState(0))[0]
    found = [float(peaks.frequency[0]) for peaks in narrow]
    np.testing.assert_allclose(found, [0.17, 0.31], rtol=1e-4)
    apart = ways_to_start(x[1:], y[1:, None], np.ones(len(x) - 1), 1, np.random.RandomState(0))[0]
    assert all(np.isfinite(peaks.frequency).all() for peaks in apart)  # a hole: all rows together


# the picture ----------------------------------------------------------------------------------


def test_the_spectrum_has_the_periods_of_its_peaks():
    model = SpectralMixtureRegressor(2).fit(T, Y)
    ax = model.plot_spectrum()
    written = {text.get_text() for text in ax.texts}
    assert written == {f"{period:.4g}" for period in model.components()["period"]}
    lines = {line.get_label(): line for line in ax.lines}
    assert set(lines) == {"periodogram, without its line", "learned density", "noise"}
    f, density = lines["learned density"].get_data()
    power = np.trapezoid(density, f)  # with the noise, all of the variance
    assert power == pytest.approx(model.components()["weight"].sum() + model.noise_, rel=0.1)
    at, periodogram = lines["periodogram, without its line"].get_data()
    assert np.trapezoid(periodogram, at) == pytest.approx(Y.var(), rel=0.1)
    assert at[np.argmax(periodogram)] == pytest.approx(TRUE[0], rel=0.05)


def test_the_spectrum_of_a_named_column_without_noise():
    table = pd.DataFrame({"$days": T[:20, 0]})
    model = SpectralMixtureRegressor(1, noise=0.0).fit(table, np.random.default_rng(0).standard_normal(20))
    ax = model.plot_spectrum()
    assert ax.get_xlabel() == "frequency, cycles per unit of $days"
    assert "noise" not in {line.get_label() for line in ax.lines}
    low, high = ax.get_ylim()
    periodogram = ax.lines[0].get_data()[1]
    assert 0.0 < low < np.median(periodogram) < high


def test_a_wave_that_the_data_do_not_show_to_return_is_a_trend():
    model = SpectralMixtureRegressor(3).fit(T, 0.03 * T[:, 0] + Y)
    waves = model.components()
    slow = waves["frequency"] * 119.0 < 0.4
    assert slow.any() and not slow.all()
    assert np.isinf(waves["period"][slow]).all()
    np.testing.assert_allclose(waves["period"][~slow], 1.0 / waves["frequency"][~slow])
    assert len(model.plot_spectrum().texts) == (~slow).sum()


@pytest.mark.parametrize("count", [2, "auto"])
def test_a_loaded_model_knows_how_its_components_were_chosen(count, tmp_path):
    model = SpectralMixtureRegressor(count, max_components=3).fit(T, Y)
    model.save(tmp_path / "model.safetensors")
    loaded = SpectralMixtureRegressor.load(tmp_path / "model.safetensors")
    assert loaded.evidence_ == model.evidence_
    assert all(type(q) is int for q in loaded.evidence_)
    assert (loaded.num_components_, loaded.num_pruned_) == (model.num_components_, model.num_pruned_)
    np.testing.assert_array_equal(loaded.predict(T), model.predict(T))


def test_rows_of_no_weight_are_no_rows():
    weights = np.ones(len(T))
    weights[::9] = 0.0
    spoilt = np.where(weights > 0.0, Y, 1e3)
    kept = SpectralMixtureRegressor(2).fit(T[weights > 0.0], Y[weights > 0.0])
    weighted = SpectralMixtureRegressor(2).fit(T, spoilt, sample_weight=weights)
    np.testing.assert_allclose(weighted.predict(T), kept.predict(T), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("X", "y", "said"),
    [
        (T, None, "requires y to be passed, but the target y is None"),
        (T, 3.0, "y should be a 1d array, one number for each of the 120 rows of X; got 3.0"),
    ],
)
def test_no_outputs_to_learn_from(X, y, said):
    with pytest.raises(ValueError, match=said):
        SpectralMixtureRegressor(1).fit(X, y)


def test_a_spectrum_is_of_one_column_and_one_output():
    X = np.random.default_rng(0).uniform(size=(30, 2))
    model = SpectralMixtureRegressor(1).fit(X, X[:, 0])
    with pytest.raises(InputError, match="of one column and one output, got 2 and 1"):
        model.plot_spectrum()
