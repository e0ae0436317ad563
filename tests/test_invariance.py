"""Invariant kernels: groups, one average or two, what the evidence says of a symmetry, and bad maps."""

import numpy as np
import pytest
import torch

from nonparam import GPRegressor
from nonparam.errors import InputError
from nonparam.kernels import (
    RBF,
    Constant,
    Cosine,
    Invariant,
    Kernel,
    Linear,
    Matern,
    Periodic,
    RationalQuadratic,
    SoftInvariant,
    WhiteNoise,
    covariance,
    variance,
)
from nonparam.kernels.groups import GROUPS, Group
from nonparam.kernels.invariance import is_jointly_invariant
from nonparam.kernels.operator import KernelOperator


def rows(n: int, columns: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, columns)))


def group(name: str, columns: int = 2) -> Group:
    return Group.of(name, range(columns), columns)


# groups -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "columns", "order"),
    [("reflection", 3, 2), ("permutation", 3, 6), ("permutation", 4, 24), ("c4", 2, 4), ("d4", 2, 8)],
)
def test_named_groups_are_closed_and_have_no_element_twice(name: str, columns: int, order: int):
    x = rows(1, columns)
    maps = group(name, columns).maps
    images = {tuple(g(x)[0].tolist()) for g in maps} | {tuple(x[0].tolist())}
    assert len(images) == len(maps) + 1 == order
    assert {tuple(g(h(x))[0].tolist()) for g in maps for h in maps} <= images


def test_each_group_contains_the_one_before():
    x = rows(1)
    images = [{tuple(g(x)[0].tolist()) for g in group(name).maps} for name in ("reflection", "c4", "d4")]
    assert images[0] < images[1] < images[2]


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("base", [RBF(0.7), RBF([0.7, 1.5]), Linear(1.0, center=0.3) * RBF(1.0)], ids=str)
def test_functions_are_the_same_at_all_images(name: str, base: Kernel):
    center = torch.tensor([0.4, -0.2], dtype=torch.float64)
    kernel, x, z = Invariant(base, name, center=center.tolist()), rows(5), rows(4, seed=1)
    whole = covariance(kernel, x, z).detach()
    for g in group(name).maps:
        torch.testing.assert_close(covariance(kernel, center + g(x - center), z).detach(), whole)
        torch.testing.assert_close(variance(kernel, center + g(x - center)), variance(kernel, x))


def test_averaging_twice_changes_nothing():
    once = Invariant(RBF([0.7, 1.5]), "c4")
    x = rows(6)
    torch.testing.assert_close(covariance(Invariant(once, "c4"), x), covariance(once, x))


# one average or two -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "signs", "turns"),
    [
        (RBF(1.0), True, True),
        (Matern(1.0, nu=0.5), True, True),
        (RationalQuadratic(1.0, 2.0), True, True),
        (RBF([1.0, 1.0]), True, False),
        (Periodic(1.0, 1.0), True, False),
        (Constant(1.0), True, True),
        (Linear(1.0, center=0.0), False, False),
        (Cosine([1.0, 2.0]), False, False),
        (WhiteNoise(1.0), False, False),
        (2.0 * RBF(1.0) + RBF(2.0) * Constant(1.0), True, True),
        (RBF(1.0) + Linear(1.0, center=0.0), False, False),
        (RBF(1.0, active_dims=[0]), True, False),
    ],
    ids=str,
)
def test_one_average_is_taken_only_where_it_suffices(kernel: Kernel, signs: bool, turns: bool):
    assert is_jointly_invariant(kernel, group("reflection")) is signs
    assert is_jointly_invariant(kernel, group("c4")) is turns
    assert not is_jointly_invariant(kernel, Group.of([lambda x: -x], (), 2))


@pytest.mark.parametrize("name", GROUPS)
def test_one_average_equals_two(name: str):
    """A list of the same maps is averaged over both arguments: nothing is known of it."""
    maps = list(group(name).maps)
    for make in (
        lambda g: Invariant(Matern(0.8), g),
        lambda g: SoftInvariant(Matern(0.8), g, variance=2.0, breaking=0.1),
    ):
        one, two, x, z = make(name), make(maps), rows(6), rows(4, seed=1)
        torch.testing.assert_close(covariance(one, x, z), covariance(two, x, z))
        torch.testing.assert_close(covariance(one, x), covariance(two, x))
        torch.testing.assert_close(variance(one, x), variance(two, x))


def test_gradient_at_equal_lengthscales_is_that_of_two_averages():
    """There one average has the right value, and a gradient that is wrong."""
    kernel = Invariant(RBF([1.0, 1.0]), "c4")
    weights = rows(5, 5)
    (slope,) = torch.autograd.grad(
        (covariance(kernel, rows(5)) * weights).sum(), [kernel.base.raw_lengthscale]
    )
    assert slope[0, 0].item() == pytest.approx(slope[0, 1].item())


def test_products_without_the_matrix():
    kernel = SoftInvariant(RBF([0.5, 1.0]), "d4", variance=2.0, breaking=0.1)
    x, v = rows(50), rows(50, 2, seed=1)
    operator, dense = KernelOperator(kernel, x, tile=(16, 32)), covariance(kernel, x)
    torch.testing.assert_close(operator @ v, dense.detach() @ v)
    parameters = [kernel.raw_variance, kernel.raw_breaking, kernel.base.raw_lengthscale]
    expected = torch.autograd.grad((v * (dense @ v)).sum(), parameters)
    for found, slope in zip(operator.gradient(v, v, parameters), expected, strict=True):
        torch.testing.assert_close(found, slope)


# in a regressor ---------------------------------------------------------------------------------

X = np.random.default_rng(0).uniform(-1.0, 1.0, (100, 2))
EVEN = np.cos(3.0 * X[:, 0]) * np.cos(2.0 * X[:, 1]) + X[:, 0] * X[:, 1]
NOISE = 0.05 * np.random.default_rng(1).standard_normal(100)


def test_the_evidence_finds_an_exact_symmetry_and_a_broken_one():
    for y, exact in ((EVEN, True), (EVEN + 0.3 * X[:, 0], False)):
        model = GPRegressor(SoftInvariant(RBF(ard=False), "reflection")).fit(X, y + NOISE)
        ratio = model.kernel_.value("breaking")
        assert ratio < 1e-3 if exact else ratio > 1e-2
        evidence = {
            kernel: GPRegressor(kernel).fit(X, y + NOISE).log_evidence()
            for kernel in ("rbf(ard=False)", "invariant(rbf(ard=False), 'reflection')")
        }
        assert (max(evidence, key=evidence.get) != "rbf(ard=False)") is exact


def test_the_centre_and_the_units_are_the_users():
    shift, scale, factor = np.array([50.0, -3.0]), np.array([10.0, 10.0]), 1e3
    plain = GPRegressor(SoftInvariant(RBF(ard=False), "c4")).fit(X, EVEN + NOISE)
    kernel = SoftInvariant(RBF(ard=False), "c4", center=shift)
    moved = GPRegressor(kernel).fit(shift + scale * X, factor * (EVEN + NOISE))
    assert moved.kernel_.value("breaking") == pytest.approx(plain.kernel_.value("breaking"), rel=1e-2)
    assert moved.kernel_.value("variance") == pytest.approx(
        factor**2 * plain.kernel_.value("variance"), rel=1e-2
    )
    np.testing.assert_allclose(
        moved.predict(shift + scale * X[:5]), factor * plain.predict(X[:5]), rtol=1e-3, atol=1.0
    )
    with_mean = GPRegressor(Invariant(RBF(), "reflection", center=None)).fit(X, EVEN)
    np.testing.assert_allclose(with_mean.kernel_.kernel.value("center"), X.mean(0))


# bad input --------------------------------------------------------------------------------------


def first_column(x):
    return x[:, :1]


def upside_down(x):
    return x.flip(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Invariant(RBF(), "c5"),
            r"Invariant: group must be one of \('reflection'.*or a list of maps; got 'c5'",
        ),
        (lambda: SoftInvariant(RBF(), 4), "SoftInvariant: group must be one of .* functions .*; got 4"),
        (lambda: Invariant(RBF(), []), r"group must be one of .*; got \[\]"),
        (lambda: Invariant(RBF(), [torch.neg, 2]), "group must be one of .* functions"),
        (lambda: Invariant("rbf", "c4"), "Invariant takes a kernel and a group, got 'rbf'"),
        (
            lambda: Invariant(RBF(), "c4", columns=(0, 0)),
            "Invariant: columns must be different column numbers",
        ),
        (lambda: SoftInvariant(RBF(), "c4", breaking=0.0), "breaking must be positive and finite, got 0"),
    ],
    ids=range(7),
)
def test_groups_that_are_none(make, message: str):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("kernel", "columns", "message"),
    [
        (Invariant(RBF(1.0), "c4"), 3, "group 'c4' turns two columns, got 3: name them with columns="),
        (Invariant(RBF(1.0), "d4"), 1, "group 'd4' turns two columns, got 1"),
        (Invariant(RBF(1.0), "permutation"), 1, "group 'permutation' takes 2 to 5 columns .* got 1"),
        (Invariant(RBF(1.0), "permutation"), 6, "group 'permutation' takes 2 to 5 columns .* got 6"),
        (
            SoftInvariant(RBF(1.0), "reflection", columns=(3,)),
            2,
            r"group 'reflection' acts on columns \[3\], but X has only 2",
        ),
        (
            Invariant(RBF(1.0), [first_column]),
            2,
            r"map 0 of the group, 'first_column', must return rows of the shape that it is given, \(4, 2\), "
            r"got \(4, 1\)",
        ),
        (
            Invariant(RBF(1.0), [lambda x: x @ torch.ones(3, 3)]),
            2,
            r"map 0 of the group, '<lambda>', failed on rows of shape \(4, 2\): ",
        ),
        (Invariant(RBF(1.0), [lambda x: x[:, [7]]]), 2, r"'<lambda>', failed on .*: index 7 is out of"),
        (Invariant(RBF(1.0), [torch.neg, lambda x: 0.0]), 2, r"map 1 of the group, '<lambda>', .* got float"),
        (Invariant(RBF(1.0), [torch.log]), 2, "map 0 of the group, 'log', returned NaN or infinity"),
        (
            Invariant(RBF(1.0), [torch.neg], columns=(0,)),
            2,
            r"columns= is for a group with a name, got",
        ),
        (Invariant(RBF(1.0), [upside_down]), 2, "'upside_down', changes a row with the rows beside it"),
    ],
    ids=range(12),
)
def test_groups_that_do_not_suit_the_columns(kernel: Kernel, columns: int, message: str):
    with pytest.raises(InputError, match=message):
        covariance(kernel, rows(4, columns))
    with pytest.raises(InputError, match=message.replace(r"\(4", r"\(1").replace("4, 1", "1, 1")):
        x = rows(4, columns).numpy()
        GPRegressor(kernel).fit(x, x[:, 0])


def turn(thirds: float):
    """A rotation of two columns, whose numbers are known to 4 digits only."""
    c, s = round(np.cos(thirds * 2 * np.pi / 3), 4), round(np.sin(thirds * 2 * np.pi / 3), 4)
    matrix = torch.tensor([[c, s], [-s, c]], dtype=torch.float64)

    def turned(x):
        return x @ matrix

    return turned


def shear(x):
    return torch.stack([x[:, 0] + x[:, 1], x[:, 1]], 1)


@pytest.mark.parametrize("n", [1, 3, 50])
@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (
            [turn(1)],
            r"no group: map 0 of the group, 'turned', after map 0 of the group, 'turned', is none of them",
        ),
        ([torch.neg, lambda x: x + 1], r"'<lambda>', after map 0 of the group, 'neg', is none .* add their"),
        ([shear], r"'shear', after .* is none of them.*such as lambda x: second\(first\(x\)\)"),
        ([lambda x: x + 1e-3], "is none of them"),
        ([torch.neg, torch.neg], "after map 0 of the group, 'neg', images are there another number of times"),
        ([torch.neg, torch.clone], "expected different maps that can be undone, without the identity"),
        ([lambda x: -x.abs()], "map 0 of the group, '<lambda>', images are there another number of times"),
    ],
    ids=["third", "translation", "shear", "step", "twice", "identity", "one way"],
)
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_lists_that_are_no_group(maps, message: str, n: int, offset: float):
    x = rows(n) + offset
    with pytest.raises(InputError, match=message):
        covariance(Invariant(RBF(1.0), maps), x)


@pytest.mark.parametrize("center", [0.0, 2000.0])
def test_a_list_may_be_a_group_with_rounded_numbers_and_rows_at_its_centre(center: float):
    kernel = SoftInvariant(RBF(1.0), [turn(1), turn(2)], variance=1.0, breaking=1.0, center=center)
    x = torch.cat([torch.zeros(5, 2, dtype=torch.float64), rows(20)]) + center
    first = covariance(kernel, x[:1] + 1e-17, x)
    torch.testing.assert_close(first.detach()[0, :5], torch.full((5,), 2.0, dtype=torch.float64))
    shifted = Invariant(RBF(1.0), [lambda x: 4020.0 - x])
    years = torch.linspace(2000.0, 2020.0, 21, dtype=torch.float64)[:, None]
    torch.testing.assert_close(covariance(shifted, years), covariance(shifted, 4020.0 - years))


def test_maps_may_work_in_place():
    def mirrored(x):
        x[:, 0] *= -1.0
        return x

    x = rows(6)
    found = covariance(Invariant(RBF(1.0), [mirrored]), x)
    torch.testing.assert_close(x, rows(6))
    torch.testing.assert_close(found, covariance(Invariant(RBF(1.0), "reflection", columns=(0,)), x))


def test_a_users_map_cannot_be_saved(tmp_path):
    model = GPRegressor(Invariant(RBF(1.0), [torch.neg])).fit(X, EVEN)
    with pytest.raises(
        InputError, match=r"cannot save .*group.*: files hold no code; pickle the model instead"
    ):
        model.save(tmp_path / "model.safetensors")
