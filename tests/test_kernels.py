"""Every kernel of the table of cases against its textbook form, its twins elsewhere, and its own algebra."""

import copy
import math
import pickle

import gpytorch
import numpy as np
import oracles
import pytest
import sklearn.base
import torch
from cases import CASES, Case
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels import (
    RBF,
    ChangePoint,
    Constant,
    Cosine,
    Kernel,
    Linear,
    Matern,
    Periodic,
    Polynomial,
    Product,
    RationalQuadratic,
    Scale,
    Sum,
    WhiteNoise,
    Wiener,
    covariance,
    parse,
    variance,
    with_amplitude,
)
from nonparam.kernels.stationary import _log_mean
from nonparam.kernels.strips import WHOLE, assemble

ONE_COLUMN = [case for case in CASES if case.columns == 1]
SHIFTS = (0.0, 0.2, -0.3)  # of the raw hyperparameters of a batch


def crossed(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def rows(n: int, columns: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0.0, 2.0, (n, columns)))


def rows_with_twins(columns: int) -> Tensor:
    """Eleven rows, two of them copies of others."""
    x = rows(9, columns)
    return torch.cat([x, x[2:3], x[7:8]])


def grid(n: int = 24) -> Tensor:
    return (torch.arange(n, dtype=torch.float64) / 12.0)[:, None]


def dense(kernel: Kernel, x: Tensor) -> Tensor:
    """The covariance at the same observations in a mixed order, where no regular grid can be seen."""
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(x)))
    back = torch.argsort(order)
    return covariance(kernel, x[order])[..., back, :][..., back]


def leaves(kernel: gpytorch.kernels.Kernel) -> list[tuple[torch.nn.Module, str]]:
    return [(part, name) for part in kernel.modules() for name in part._parameters]


def raw_values(kernel: gpytorch.kernels.Kernel) -> list[Tensor]:
    return [part._parameters[name].detach().clone() for part, name in leaves(kernel)]


def store(kernel: gpytorch.kernels.Kernel, raws: list[Tensor]) -> gpytorch.kernels.Kernel:
    for (part, name), raw in zip(leaves(kernel), raws, strict=True):
        part._parameters[name] = raw
    return kernel


def gradients(matrix: Tensor, raws: list[Tensor]) -> list[Tensor]:
    """Of a sum with fixed uneven weights; zeros where nothing depends on a raw value."""
    weights = rows(matrix.shape[-2], matrix.shape[-1], seed=2) - 0.7
    return list(torch.autograd.grad((matrix * weights).sum(), raws, materialize_grads=True))


def assert_equal(actual: Tensor, expected: object, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(
        actual.detach(), torch.as_tensor(expected).detach(), rtol=tolerance, atol=tolerance
    )


# against the textbook ------------------------------------------------------------------------


@crossed(CASES)
def test_matrix_equals_the_textbook(case: Case):
    x = rows_with_twins(case.columns)
    assert_equal(covariance(case.make(), x), oracles.gram(case.oracle, x.numpy()))


@crossed(CASES)
def test_cross_matrix_equals_the_textbook(case: Case):
    x, z = rows_with_twins(case.columns), rows(4, case.columns, seed=3)
    z = torch.cat([z, x[:2]])
    assert_equal(covariance(case.make(), x, z), oracles.gram(case.oracle, x.numpy(), z.numpy()))


@crossed(CASES)
def test_single_row(case: Case):
    x = rows(1, case.columns)
    assert_equal(covariance(case.make(), x), oracles.gram(case.oracle, x.numpy()))
    assert_equal(variance(case.make(), x), oracles.gram(case.oracle, x.numpy())[0])


@crossed([case for case in CASES if case.stationary])
def test_inputs_far_from_zero_lose_no_digits(case: Case):
    x = 1e6 + rows_with_twins(case.columns)
    matrix = covariance(case.make(), x)
    assert_equal(matrix, oracles.gram(case.oracle, x.numpy()))
    assert_equal(covariance(case.make(), x, x[3:6]), matrix[:, 3:6])


@crossed(CASES)
def test_matrix_is_symmetric_and_positive(case: Case):
    matrix = covariance(case.make(), rows_with_twins(case.columns)).detach()
    assert_equal(matrix, matrix.mT, 1e-15)
    spectrum = torch.linalg.eigvalsh(matrix)
    assert spectrum[0] >= -1e-10 * spectrum[-1]


@crossed(CASES)
def test_same_rows_given_twice_differ_by_white_noise_only(case: Case):
    kernel, x = case.make(), rows_with_twins(case.columns)
    other = covariance(kernel, x, x.clone())
    assert_equal(other, oracles.gram(case.oracle, x.numpy(), x.numpy()))
    apart = ~torch.eye(len(x), dtype=torch.bool)
    assert_equal(covariance(kernel, x)[apart], other[apart])
    if "white" not in repr(kernel):
        assert_equal(covariance(kernel, x), other)


@crossed(CASES)
def test_variance_is_the_diagonal(case: Case):
    kernel, x = case.make(), rows_with_twins(case.columns)
    assert_equal(variance(kernel, x), covariance(kernel, x).diagonal())


@crossed(CASES)
def test_kernel_knows_whether_it_is_stationary(case: Case):
    assert case.make().is_stationary == case.stationary


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("columns", [1, 3, 4, 16])
@pytest.mark.parametrize(
    "kernel",
    [
        RBF(0.01),
        Matern(0.01, nu=0.5),
        Matern(0.01, nu=1.5),
        Matern(0.01),
        RationalQuadratic(0.01, 0.5),
        Periodic(1.0, 0.01),
        Periodic(1.0, 0.01, zero_mean=True),
    ],
    ids=str,
)
def test_coincident_rows_have_exactly_unit_covariance(kernel: Kernel, columns: int, offset: float):
    x = rows(7, columns) + offset
    x = torch.cat([x, x])
    first, second = range(7), range(7, 14)
    assert (covariance(kernel, x)[first, second] == 1.0).all()
    assert (covariance(kernel, x).diagonal() == 1.0).all()
    assert (covariance(kernel, x[:7], x)[first, second] == 1.0).all()


@pytest.mark.parametrize("place", [0, 10, 20])
def test_one_far_row_spoils_no_other(place: int):
    x = rows(21, 6)
    x[place] = 1e5
    matrix = covariance(RBF(1.0), x)
    assert_equal(matrix, oracles.gram(oracles.rbf(1.0), x.numpy()), 1e-9)
    assert torch.linalg.eigvalsh(matrix.detach())[0] > -1e-9


@pytest.mark.parametrize("lengthscale", [1e-3, 0.05, 1.0, 9.99, 10.01, 1e3, 1e6, 1e9])
def test_zero_mean_season_stays_a_covariance_at_every_lengthscale(lengthscale: float):
    x = rows(15, 1)
    matrix = covariance(Periodic(1.2, lengthscale, zero_mean=True), x).detach()
    assert (matrix.diagonal() == 1.0).all()
    assert torch.linalg.eigvalsh(matrix)[0] > -1e-13
    if lengthscale >= 1e6:  # in the limit it is a single harmonic
        assert_equal(matrix, covariance(Cosine(1.2), x), 1e-11)


@pytest.mark.parametrize("q", [1e-18, 1e-6, 0.0099999, 0.0100001, 0.5])
def test_mean_of_a_season_keeps_its_digits(q: float):
    series = sum((0.25 * q * q) ** k / math.factorial(k) ** 2 for k in range(1, 12))  # I_0(q) - 1
    actual = _log_mean(torch.tensor(q, dtype=torch.float64))
    torch.testing.assert_close(actual.item(), math.log1p(series) - q, rtol=1e-13, atol=0.0)


def test_zero_mean_season_averages_to_zero():
    x = torch.arange(64, dtype=torch.float64)[:, None] / 64.0 * 1.2
    plain, centred = Periodic(1.2, 0.7), Periodic(1.2, 0.7, zero_mean=True)
    assert covariance(plain, x).mean() > 0.1
    assert abs(float(covariance(centred, x).detach().mean())) < 1e-14


# gradients -----------------------------------------------------------------------------------


@crossed(CASES)
def test_gradient_in_every_hyperparameter(case: Case):
    kernel, x, z = case.make(), rows(4, case.columns), rows(2, case.columns, seed=3)
    raws = [raw.requires_grad_() for raw in raw_values(kernel)]

    def cross_matrix(*raws: Tensor) -> Tensor:
        matrix = covariance(store(kernel, list(raws)), x, z)
        return matrix + 0.0 * raws[0].sum()  # of white noise it depends on nothing

    assert torch.autograd.gradcheck(lambda *raws: covariance(store(kernel, list(raws)), x), raws)
    assert torch.autograd.gradcheck(cross_matrix, raws)


@crossed(CASES)
def test_gradient_in_the_inputs(case: Case):
    kernel = store(case.make(), raw_values(case.make()))
    x = rows(4, case.columns).requires_grad_()
    z = rows(2, case.columns, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: covariance(kernel, x) + 0.0 * x.sum(), (x,))
    assert torch.autograd.gradcheck(lambda x, z: covariance(kernel, x, z) + 0.0 * x.sum(), (x, z))


@crossed(ONE_COLUMN)
def test_gradient_in_the_inputs_of_a_regular_grid(case: Case):
    kernel = store(case.make(), raw_values(case.make()))
    x = (grid(5) * 3.0 + 0.11).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: covariance(kernel, x) + 0.0 * x.sum(), (x,))


@crossed(CASES)
def test_gradients_are_finite_at_coincident_rows(case: Case):
    kernel = case.make()
    x = rows(3, case.columns).repeat(2, 1).requires_grad_()
    raws = [raw.requires_grad_() for raw in raw_values(kernel)]
    store(kernel, raws)
    for matrix in (covariance(kernel, x), covariance(kernel, x, x.detach()[:3])):
        assert all(g.isfinite().all() for g in gradients(matrix + 0.0 * raws[0].sum(), [*raws, x]))


# batches of hyperparameters ------------------------------------------------------------------


@crossed(CASES)
def test_batch_of_hyperparameters_equals_the_loop(case: Case):
    x = rows_with_twins(case.columns)
    assert_batch_equals_loop(case.make(), x, None)
    assert_batch_equals_loop(case.make(), x, rows(4, case.columns, seed=3))


@crossed(ONE_COLUMN)
def test_batch_of_hyperparameters_equals_the_loop_on_a_grid(case: Case):
    assert_batch_equals_loop(case.make(), grid(), None)


def assert_batch_equals_loop(kernel: Kernel, x: Tensor, z: Tensor | None) -> None:
    raws = raw_values(kernel)

    def evaluated(raws: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        store(kernel, [raw.requires_grad_() for raw in raws])
        matrix = covariance(kernel, x, z)
        slopes = gradients(matrix + 0.0 * raws[0].sum(), raws)
        return matrix, variance(kernel, x), slopes

    matrices, variances, slopes = evaluated([torch.stack([raw + s for s in SHIFTS]) for raw in raws])
    assert matrices.shape[:-2] == variances.shape[:-1] == (len(SHIFTS),)
    for i, shift in enumerate(SHIFTS):
        matrix, diagonal, slope = evaluated([raw + shift for raw in raws])
        assert_equal(matrices[i], matrix)
        assert_equal(variances[i], diagonal)
        for of_batch, alone in zip(slopes, slope, strict=True):
            assert_equal(of_batch[i], alone, 1e-11)


@crossed(CASES)
def test_batch_in_one_hyperparameter_only(case: Case):
    kernel, x = case.make(), rows(5, case.columns)
    raws = raw_values(kernel)
    for i, raw in enumerate(raws):
        batched = torch.stack([raw + s for s in SHIFTS])
        store(kernel, [*raws[:i], batched, *raws[i + 1 :]])
        matrix, diagonal = covariance(kernel, x), variance(kernel, x)
        assert_equal(diagonal.expand(3, 5), matrix.expand(3, 5, 5).diagonal(dim1=-2, dim2=-1))


# regular grids -------------------------------------------------------------------------------


@pytest.mark.parametrize("shifts", [(0.0,), SHIFTS], ids=["one", "batch"])
@crossed(ONE_COLUMN)
def test_regular_grid_equals_the_dense_matrix(case: Case, shifts: tuple[float, ...]):
    kernel, x = case.make(), grid()
    raws = [torch.stack([raw + s for s in shifts]).requires_grad_() for raw in raw_values(kernel)]
    store(kernel, raws)
    fast, plain = covariance(kernel, x), dense(kernel, x)
    assert_equal(fast, plain)
    for actual, expected in zip(gradients(fast, raws), gradients(plain, raws), strict=True):
        torch.testing.assert_close(
            actual, expected, rtol=1e-12, atol=1e-12 * float(plain.detach().abs().sum())
        )


@crossed([case for case in ONE_COLUMN if case.stationary])
def test_regular_grid_is_evaluated_by_lags(case: Case):
    x = grid() * 0.7 + 0.3  # differences of equal lag differ in their last digits
    matrix = covariance(case.make(), x).detach()
    assert all((matrix.diagonal(lag) == matrix[0, lag]).all() for lag in range(len(x)))
    assert all((matrix.diagonal(-lag) == matrix[0, lag]).all() for lag in range(len(x)))


@pytest.mark.parametrize(
    "x",
    [
        grid().index_add(0, torch.tensor([7]), torch.tensor([[1e-6]], dtype=torch.float64)),
        grid(200) + 9e-9 * grid(200) * (grid(199).amax() - grid(200)),  # steps vary slowly
        grid().flip(0),
        grid().repeat_interleave(2, 0),
        torch.zeros(5, 1, dtype=torch.float64),
        grid(2),
        torch.cat([grid(5), grid(5)[3:4]]),
    ],
    ids=["one moved", "steps vary", "descending", "repeated", "constant", "two rows", "turns back"],
)
def test_grid_that_is_not_quite_regular(x: Tensor):
    kernel = RBF(0.1) + Linear(0.5, center=0.1)
    entry = oracles.total(oracles.rbf(0.1), oracles.linear(0.5, 0.1))
    assert_equal(covariance(kernel, x[:40]), oracles.gram(entry, x[:40].numpy()))
    assert_equal(covariance(kernel, x)[:40, -40:], oracles.gram(entry, x[:40].numpy(), x[-40:].numpy()))


# more rows than one strip --------------------------------------------------------------------


def straightforward(kernel: Kernel, x: Tensor) -> Tensor:
    """The direct formula with an n x n x d tensor, differentiated by autograd."""
    r2 = ((x[:, None] - x[None]) / kernel.lengthscale[0]).square().sum(-1)
    if isinstance(kernel, RationalQuadratic):
        return (1.0 + r2 / (2.0 * kernel.alpha)) ** -kernel.alpha
    if isinstance(kernel, RBF):
        return torch.exp(-0.5 * r2)
    r = torch.where(r2 > 0, r2, 1.0).sqrt() * (r2 > 0) * (2.0 * kernel.nu) ** 0.5
    return {0.5: 1.0, 1.5: 1.0 + r, 2.5: 1.0 + r + r**2 / 3.0}[kernel.nu] * torch.exp(-r)


@pytest.mark.parametrize("columns", [2, 5])
@pytest.mark.parametrize(
    "make", [RBF, RationalQuadratic, *(lambda ls, nu=nu: Matern(ls, nu=nu) for nu in (0.5, 1.5, 2.5))]
)
def test_many_rows_equal_the_direct_formula(make, columns: int):
    kernel = make([0.5 + 0.3 * c for c in range(columns)])
    x = rows(600, columns)
    x[590:] = x[:10]
    raws = list(kernel.parameters())
    fast, plain = covariance(kernel, x), straightforward(kernel, x)
    assert_equal(fast, plain)
    for actual, expected in zip(gradients(fast, raws), gradients(plain, raws), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@crossed(CASES)
def test_strips_of_rows_equal_the_whole_matrix(case: Case):
    kernel, x = case.make(), rows(WHOLE + 20, case.columns)
    x[-5:] = x[:5]
    raws = [raw.requires_grad_() for raw in raw_values(kernel)]
    whole = covariance(store(kernel, raws), x)
    found = assemble(kernel, x)
    assert found.matrix.is_contiguous() and not found.matrix.requires_grad
    assert_equal(found.matrix, whole)
    weights = (rows(len(x), len(x), seed=2) - 0.7).triu()
    expected = torch.autograd.grad((whole * weights).sum(), raws, materialize_grads=True)
    for actual, slope in zip(found.pull(raws, weights), expected, strict=True):
        torch.testing.assert_close(actual, slope, rtol=1e-9, atol=1e-12 * float(whole.detach().abs().sum()))


@pytest.mark.parametrize("n", [5, WHOLE + 20])
def test_strips_of_a_regular_grid(n: int):
    kernel, x = RBF(0.5) * 2.0 + Linear(0.5, center=0.2) + WhiteNoise(0.1), grid(n)
    assert_equal(assemble(kernel, x).matrix, dense(kernel, x), 1e-11)


# scikit-learn's and GPyTorch's kernels -------------------------------------------------------


@crossed([case for case in CASES if case.sklearn])
def test_equals_scikit_learn(case: Case):
    x, z = rows_with_twins(case.columns), rows(4, case.columns, seed=3)
    twin = case.sklearn()
    assert_equal(covariance(case.make(), x), twin(x.numpy()), 1e-10)
    assert_equal(covariance(case.make(), x, z), twin(x.numpy(), z.numpy()), 1e-10)
    assert_equal(variance(case.make(), x), twin.diag(x.numpy()), 1e-10)


@crossed([case for case in CASES if case.gpytorch])
def test_equals_gpytorch(case: Case):
    x, z = rows(9, case.columns), rows(4, case.columns, seed=3)
    ours, twin = case.make(), case.gpytorch()
    with torch.no_grad():  # with gradients GPyTorch's distance of a row to itself is not quite 0
        assert_equal(covariance(ours, x), twin(x, x).to_dense(), 1e-10)
        assert_equal(covariance(ours, x, z), twin(x, z).to_dense(), 1e-10)


@crossed([case for case in CASES if case.gpytorch])
def test_gpytorch_kernels_are_evaluated_too(case: Case):
    x, z = rows(9, case.columns), rows(4, case.columns, seed=3)
    ours, twin = case.make(), case.gpytorch()
    mixtures = [
        (twin, ours),
        (2.0 * (WhiteNoise(0.4) + twin), 2.0 * (WhiteNoise(0.4) + ours)),
        (RBF(0.5) * twin, RBF(0.5) * ours),
        (Scale(twin, 3.0) * Cosine(1.0), Scale(ours, 3.0) * Cosine(1.0)),
        (ChangePoint(twin, RBF(1.0), 0.5, 0.2), ChangePoint(ours, RBF(1.0), 0.5, 0.2)),
    ]
    for theirs, equal in mixtures:
        with torch.no_grad():
            assert_equal(covariance(theirs, x), covariance(equal, x), 1e-10)
            assert_equal(covariance(theirs, x, z), covariance(equal, x, z), 1e-10)
            assert_equal(variance(theirs, x), variance(equal, x), 1e-10)
        assert covariance(theirs, x).requires_grad
    assert not any(theirs.is_stationary for theirs, _ in mixtures[1:])


@crossed(CASES)
def test_called_in_gpytorchs_manner(case: Case):
    kernel, x, z = case.make(), rows_with_twins(case.columns), rows(11, case.columns, seed=3)
    assert_equal(kernel(x).to_dense(), covariance(kernel, x))
    assert_equal(kernel(x, z).to_dense(), covariance(kernel, x, z))
    assert_equal(kernel(x, diag=True), variance(kernel, x))
    assert_equal(kernel(x, z, diag=True), covariance(kernel, x, z).diagonal())
    if "white" not in repr(kernel):  # a block of a lazy matrix has forgotten which rows are the same
        assert_equal(kernel(x)[2:5, 1:9].to_dense(), covariance(kernel, x)[2:5, 1:9])


@crossed(CASES)
def test_batch_of_inputs_in_gpytorchs_manner(case: Case):
    kernel = case.make()
    x = torch.stack([rows(6, case.columns), rows(6, case.columns, seed=3)])
    assert_equal(kernel(x).to_dense(), torch.stack([covariance(kernel, part) for part in x]))
    assert_equal(kernel(x, diag=True), torch.stack([variance(kernel, part) for part in x]))


@pytest.mark.parametrize("n", [1, 6])
def test_batch_of_shifted_rows_is_no_grid(n: int):
    kernel = RBF(0.4) + Linear(0.5, center=0.0)
    x = torch.stack([rows(n, 1) + i for i in range(4)])
    assert_equal(kernel(x).to_dense(), torch.stack([covariance(kernel, part) for part in x]))


class ExactGP(gpytorch.models.ExactGP):
    def __init__(self, x: Tensor, y: Tensor, kernel: gpytorch.kernels.Kernel) -> None:
        super().__init__(x, y, gpytorch.likelihoods.GaussianLikelihood())
        self.mean_module = gpytorch.means.ZeroMean()
        self.covar_module = kernel
        self.double()

    def forward(self, x: Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def in_exact_gp(kernel: gpytorch.kernels.Kernel, x: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """The marginal likelihood, its gradients, and predictions of a GPyTorch model."""
    y = torch.sin(3.0 * x.sum(-1))
    model = ExactGP(x, y, kernel)
    model.likelihood.noise = 0.1
    mll = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)(model(x), y)
    mll.backward()
    slopes = {name: p.grad.flatten() for name, p in model.named_parameters() if p.grad is not None}
    posterior = model.eval()(rows(4, x.shape[-1], seed=3))
    return mll.detach(), slopes, torch.cat([posterior.mean, posterior.variance]).detach()


def logarithmic() -> gpytorch.constraints.Positive:
    return gpytorch.constraints.Positive(torch.exp, torch.log)


def twin_of(base: gpytorch.kernels.Kernel) -> gpytorch.kernels.Kernel:
    """Scaled by 2, lengthscales 0.5 and 1.5, with our parametrisation, so that gradients can be compared."""
    base.register_constraint("raw_lengthscale", logarithmic())
    base.double().initialize(lengthscale=torch.tensor([0.5, 1.5][: base.ard_num_dims]).double())
    kernel = gpytorch.kernels.ScaleKernel(base, outputscale_constraint=logarithmic()).double()
    return kernel.initialize(outputscale=2.0)


@pytest.mark.parametrize("x", [rows(11, 2), grid()], ids=["scattered", "grid"])
@pytest.mark.parametrize("name", ["rbf", "matern12", "matern32", "matern52"])
def test_exact_gp_of_gpytorch_trains_our_kernels(name: str, x: Tensor):
    d = x.shape[-1]
    nu = {"matern12": 0.5, "matern32": 1.5, "matern52": 2.5}.get(name)
    base = (
        gpytorch.kernels.RBFKernel(ard_num_dims=d)
        if nu is None
        else gpytorch.kernels.MaternKernel(nu, ard_num_dims=d)
    )
    ours = Scale(parse(f"{name}(lengthscale={[0.5, 1.5][:d]})"), 2.0)
    mll, slopes, predicted = in_exact_gp(ours, x)
    twin_mll, twin_slopes, twin_predicted = in_exact_gp(twin_of(base), x)
    loose = name == "matern12"  # GPyTorch's distance of a row to itself is not quite 0 in training
    assert_equal(mll, twin_mll, 1e-7 if loose else 1e-10)
    assert_equal(predicted, twin_predicted, 1e-6 if loose else 1e-8)
    renamed = {key.replace(".kernel.", ".base_kernel."): slope for key, slope in slopes.items()}
    assert renamed.keys() == twin_slopes.keys() and len(renamed) == 3
    for key, slope in renamed.items():
        assert slope.isfinite().all()
        assert_equal(slope, twin_slopes[key], 1e-6 if loose else 1e-9)


# scikit-learn's protocol ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "copied",
    [sklearn.base.clone, copy.deepcopy, lambda kernel: pickle.loads(pickle.dumps(kernel))],
    ids=["clone", "deepcopy", "pickle"],
)
@crossed(CASES)
def test_copies_are_equal_and_independent(case: Case, copied):
    kernel, x = case.make(), rows_with_twins(case.columns)
    other, before = copied(kernel), covariance(kernel, x).detach()
    assert torch.equal(covariance(other, x), before)
    assert repr(other) == repr(kernel) and list(other.get_params()) == list(kernel.get_params())
    store(other, [raw + 0.1 for raw in raw_values(other)])
    assert torch.equal(covariance(kernel, x), before)


@crossed(CASES)
def test_formula_is_read_back(case: Case):
    kernel, x = case.make(), rows_with_twins(case.columns)
    again = parse(repr(kernel))
    assert_equal(covariance(again, x), covariance(kernel, x))
    assert_equal(covariance(parse(str(again)), x), covariance(kernel, x))
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in kernel.parameters()]


@crossed(CASES)
def test_every_parameter_can_be_set_to_itself(case: Case):
    kernel, x = case.make(), rows_with_twins(case.columns)
    before = covariance(kernel, x).detach()
    for key, value in kernel.get_params(deep=True).items():
        if not isinstance(value, Kernel):
            kernel.set_params(**{key: value})
    assert_equal(covariance(kernel, x), before)
    assert repr(kernel) == repr(case.make())


@pytest.mark.parametrize(
    "kernel",
    [
        RBF([0.5, 2.0], ard=False, active_dims=(0, 1), fixed=("lengthscale",)),
        Matern(0.5, nu=1.5),
        RationalQuadratic(),
        Periodic(12.0, zero_mean=True),
        Cosine(2.0),
        Constant(2.0, fixed=("variance",)),
        WhiteNoise(),
        Linear(2.0, center=1.0),
        Polynomial(3, offset=2.0),
        Wiener(1.0, origin=2.0),
        Scale(RBF(), 2.0),
        ChangePoint(RBF(), Linear(), 3.0, column=1),
    ],
    ids=str,
)
def test_shallow_parameters_build_the_kernel_again(kernel: Kernel):
    params = kernel.get_params(deep=False)
    again = type(kernel)(**params)
    assert repr(again) == repr(kernel)
    assert again.get_params(deep=False) == params


def test_nested_parameters():
    kernel = 2.0 * (RBF(0.5) + Linear([1.0, 2.0]) * Periodic(3.0))
    params = kernel.get_params()
    assert params["outputscale"] == pytest.approx(2.0)
    assert params["kernel__k1__lengthscale"] == pytest.approx(0.5)
    assert params["kernel__k2__k1__variance"] == pytest.approx([1.0, 2.0])
    assert params["kernel__k2__k2__lengthscale"] is None
    assert "kernel__k1__lengthscale" not in kernel.get_params(deep=False)
    changed = kernel.set_params(outputscale=3.0, kernel__k1__lengthscale=[1.0, 4.0], kernel__k2__k2__period=5)
    assert changed is kernel
    assert repr(kernel) == ("3 * (rbf(lengthscale=[1, 4]) + linear(variance=[1, 2]) * periodic(period=5))")


def test_parameters_of_every_kind_can_be_set():
    kernel = Sum(Matern(1.0), Periodic(1.0), ChangePoint(RBF(1.0), Polynomial(2)), active_dims=(0,))
    kernel.set_params(
        k1__nu=0.5, k1__active_dims=(0,), k1__fixed=("lengthscale",), k2__zero_mean=True, k2__period=None
    )
    kernel.set_params(k3__before__lengthscale=2.0, k3__after__power=3.0, k3__location=-1.5, active_dims=None)
    assert repr(kernel) == (
        "matern12(lengthscale=1, active_dims=(0,), fixed=('lengthscale',)) + periodic(zero_mean=True) + "
        "changepoint(rbf(lengthscale=2), polynomial(power=3), location=-1.5)"
    )


def test_numpy_numbers_and_tensors_are_values():
    kernel = RBF(np.array([0.5, 2.0]))
    assert kernel.value("lengthscale") == pytest.approx([0.5, 2.0])
    kernel.lengthscale = torch.tensor([[1.0, 4.0]])
    assert kernel.lengthscale.shape == (1, 2) and kernel.raw_lengthscale.dtype == torch.float64
    kernel.lengthscale = torch.ones(3, 1, 2)
    assert variance(kernel, rows(5, 2)).shape == (3, 5)
    kernel.initialize(lengthscale=0.25)
    assert kernel.value("lengthscale") == pytest.approx(0.25)
    assert RBF(np.float32(2.0)).value("lengthscale") == pytest.approx(2.0)


def test_fixed_hyperparameters_are_not_learnt():
    def learnt(kernel: Kernel) -> set[str]:
        return {name for name, p in kernel.named_parameters() if p.requires_grad}

    assert learnt(Periodic(1.0, 2.0, fixed=("period",))) == {"raw_lengthscale"}
    assert learnt(Linear(1.0, center=0.0)) == {"raw_variance"}  # a center never is
    kernel = RBF(1.0, fixed=("lengthscale",))
    kernel.lengthscale = 3.0
    assert learnt(kernel) == set()
    assert learnt(kernel.set_params(fixed=())) == {"raw_lengthscale"}
    assert learnt(Scale(kernel, 2.0, fixed=("outputscale",))) == {"kernel.raw_lengthscale"}


def waiting(kernel):
    return [
        (type(part).__name__, sorted(part.unset)) for part in kernel.modules() if getattr(part, "unset", None)
    ]


def test_unset_hyperparameters_wait_for_the_data():
    kernel = with_amplitude(RBF() + Linear(2.0))
    assert waiting(kernel) == [("Scale", ["outputscale"]), ("RBF", ["lengthscale"]), ("Linear", ["center"])]
    assert kernel.get_params()["k1__kernel__lengthscale"] is None
    assert repr(kernel) == "rbf + linear(variance=2)"
    kernel.set_params(k1__kernel__lengthscale=3.0, k1__outputscale=2.0, k2__center=0.0)
    assert waiting(kernel) == []
    kernel.set_params(k1__kernel__lengthscale=None)
    assert waiting(kernel) == waiting(pickle.loads(pickle.dumps(kernel))) == [("RBF", ["lengthscale"])]
    assert covariance(kernel, rows(3, 2)).isfinite().all()


# algebra -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "formula"),
    [
        (2 * RBF(1.0), "2 * rbf(lengthscale=1)"),
        (RBF(1.0) * np.float32(2), "2 * rbf(lengthscale=1)"),
        (2 * (3 * RBF(1.0)), "6 * rbf(lengthscale=1)"),
        ((3 * RBF(1.0)) * np.int64(2), "6 * rbf(lengthscale=1)"),
        ((2 * RBF()) * Linear(), "2 * rbf * linear"),
        (RBF() + 2, "rbf + constant(variance=2)"),
        (2.0 + RBF(), "constant(variance=2) + rbf"),
        ((RBF() + Linear()) + (WhiteNoise() + Cosine()), "rbf + linear + white + cosine"),
        ((RBF() * Linear()) * (WhiteNoise() * Cosine()), "rbf * linear * white * cosine"),
        ((RBF() + Linear()) * (WhiteNoise() + Cosine()), "(rbf + linear) * (white + cosine)"),
        (2 * (RBF() + Linear()), "2 * (rbf + linear)"),
        (Scale(RBF() + Linear()), "(rbf + linear)"),
        (
            3 * Scale(RBF(), 2.0, fixed=("outputscale",)),
            "3 * scale(rbf, outputscale=2, fixed=('outputscale',))",
        ),
        (
            Product(RBF(), Sum(RBF(), Linear(), active_dims=[1])),
            "rbf * sum(rbf, linear, active_dims=(1,))",
        ),
        (RBF(123456.0), "rbf(lengthscale=123456)"),
        (RBF(ard=False), "rbf(ard=False)"),
        (Linear(center=[-1.5, 0.0]), "linear(center=[-1.5, 0])"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_operators_and_formula(kernel: Kernel, formula: str):
    assert repr(kernel) == formula
    assert repr(parse(formula)) in (formula, formula.strip("()"))


def test_scale_among_the_factors_is_read_back_in_front():
    kernel = RBF() * (2 * Linear())
    assert repr(kernel) == "rbf * 2 * linear"
    assert repr(parse(repr(kernel))) == "2 * rbf * linear"


def test_sum_with_active_dims_is_not_taken_apart():
    part = Sum(RBF(1.0), Linear(1.0), active_dims=(1,))
    assert len((part + RBF(2.0)).kernels) == 2
    assert len((part + RBF(2.0) + Cosine(1.0)).kernels) == 3


def test_batched_outputscale_is_scaled():
    kernel = Scale(RBF(1.0))
    kernel.outputscale = torch.tensor([1.0, 2.0])
    expected = torch.tensor([[3.0, 3.0], [6.0, 6.0]], dtype=torch.float64)
    for product in (3 * kernel, kernel * 3, kernel * Constant(3.0), Constant(3.0) * kernel):
        assert_equal(variance(product, rows(2, 1)), expected)


def test_kernel_used_twice_shares_its_parameters():
    kernel = RBF(0.5)
    twice = copy.deepcopy(kernel + kernel)
    twice.set_params(k1__lengthscale=2.0)
    assert twice.get_params()["k2__lengthscale"] == pytest.approx(2.0)
    assert_equal(covariance(twice, grid()), 2.0 * covariance(RBF(2.0), grid()))


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (RBF(), False),
        (RBF() * Periodic(), False),
        (Scale(RBF()), True),
        (Linear(), True),
        (WhiteNoise(), True),
        (Constant(), True),
        (Wiener(), True),
        (RBF() * Linear(), True),
        (RBF() + Linear(), False),
        (2 * RBF() + Linear(), True),
        (ChangePoint(RBF(), Linear()), False),
        (ChangePoint(2 * RBF(), Linear()), True),
        (Product(gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel()), RBF()), True),
    ],
    ids=lambda value: str(value) if isinstance(value, bool) else type(value).__name__,
)
def test_amplitude_is_recognised(kernel: Kernel, expected: bool):
    assert (with_amplitude(kernel) is kernel) == expected or isinstance(kernel, Sum)
    completed = with_amplitude(kernel)
    terms = completed.kernels if isinstance(completed, Sum) else [completed]
    assert len(list(kernel.parameters())) + (not expected) == len(list(completed.parameters()))
    assert all(with_amplitude(term) is term for term in terms)


def test_amplitude_for_other_peoples_kernels():
    kernel = gpytorch.kernels.RBFKernel()
    assert isinstance(with_amplitude(kernel), Scale)
    assert with_amplitude(gpytorch.kernels.ScaleKernel(kernel)).base_kernel is kernel


# errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RBF(0.0), r"RBF: lengthscale must be positive and finite, got 0\.0"),
        (lambda: RBF([1.0, -2.0]), "lengthscale must be positive and finite"),
        (lambda: RBF(float("nan")), "lengthscale must be positive and finite, got nan"),
        (lambda: RBF(float("inf")), "lengthscale must be positive and finite, got inf"),
        (lambda: RBF("long"), "RBF: lengthscale must be a number, got 'long'"),
        (lambda: RBF(10**400), "RBF: lengthscale must be a number, got 1000"),
        (lambda: RBF([]), r"lengthscale must be a number, or one for each column, got \[\]"),
        (lambda: RBF([[1.0], [2.0]]), "lengthscale must be a number, or one for each column"),
        (lambda: RationalQuadratic(1.0, [1.0, 2.0]), r"alpha must be one number, got \[1\.0, 2\.0\]"),
        (lambda: Linear(1.0, center=float("inf")), "Linear: center must be finite, got inf"),
        (lambda: RBF(fixed=("scale",)), r"fixed names 'scale', .* it has \['lengthscale'\]"),
        (lambda: RBF(active_dims=0), r"active_dims must be column numbers from 0, such as \(0, 2\), got 0"),
        (lambda: RBF(active_dims="x"), "RBF: active_dims must be column numbers .* got 'x'"),
        (lambda: RBF(active_dims=(0.5,)), r"active_dims must be column numbers .* got \(0\.5,\)"),
        (lambda: RBF(active_dims=(-1,)), r"active_dims must be column numbers .* got \(-1,\)"),
        (lambda: RBF(active_dims=()), r"active_dims must be column numbers .* got \(\)"),
        (lambda: Matern(nu=2.0), "nu must be 0.5, 1.5 or 2.5, got 2.0"),
        (lambda: Matern().set_params(nu=1), "nu must be 0.5, 1.5 or 2.5, got 1"),
        (lambda: Polynomial(0), "power must be a positive integer, got 0"),
        (lambda: Polynomial(1.5), "power must be a positive integer, got 1.5"),
        (lambda: Polynomial("two"), "power must be a positive integer, got 'two'"),
        (lambda: Polynomial(float("nan")), "power must be a positive integer, got nan"),
        (lambda: Polynomial(float("inf")), "power must be a positive integer, got inf"),
        (lambda: Polynomial().set_params(power=-1), "power must be a positive integer, got -1"),
        (lambda: Sum(), r"Sum takes kernels, got \(\)"),
        (lambda: Product(RBF(), 2.0), "Product takes kernels, got"),
        (lambda: Scale(2.0, 3.0), r"Scale takes a kernel, got 2\.0"),
        (lambda: Scale(RBF(), -3.0), "Scale: outputscale must be positive and finite, got -3.0"),
        (lambda: ChangePoint(RBF(), "rbf"), "ChangePoint takes two kernels, got 'rbf'"),
        (lambda: RBF() + "rbf", "kernels combine with kernels and numbers, got 'rbf'"),
        (lambda: [1.0] * RBF(), r"kernels combine with kernels and numbers, got \[1\.0\]"),
        (lambda: -1.0 * RBF(), "outputscale must be positive and finite, got -1.0"),
        (lambda: 0 + RBF(), "Constant: variance must be positive and finite, got 0.0"),
        (lambda: RBF().set_params(period=1.0), r"RBF has no parameter 'period'; it has \['active_dims'"),
        (lambda: Constant().set_params(active_dims=(0,)), "Constant has no parameter 'active_dims'"),
        (lambda: RBF().set_params(k1__lengthscale=1.0), "RBF has no parameter 'k1__lengthscale'"),
        (lambda: (RBF() + RBF()).set_params(k1__period=1.0), "Sum has no parameter 'k1__period'"),
        (lambda: (RBF() + RBF()).set_params(k1=Linear()), "build a new Sum to exchange its component 'k1'"),
        (lambda: covariance(RBF([1.0, 2.0]), rows(3, 1)), "lengthscale has 2 values, but X has 1 columns"),
        (lambda: variance(Linear([1.0, 2.0]), rows(3, 3)), "variance has 2 values, but X has 3 columns"),
        (lambda: RBF([1.0, 2.0])(rows(3, 1)).to_dense(), "lengthscale has 2 values"),
        (lambda: covariance(RBF(active_dims=(0, 3)), rows(3, 2)), r"active_dims are \[0, 3\], .* only 2 col"),
        (lambda: variance(RBF(active_dims=(2,)), rows(3, 2)), r"active_dims are \[2\], but X has only 2"),
        (
            lambda: RBF().forward(rows(3, 2), rows(3, 2), last_dim_is_batch=True),
            "write a sum over active_dims instead",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_errors_say_what_was_expected(make, message: str):
    with pytest.raises(InputError, match=message):
        make()


def test_refused_change_leaves_the_kernel_as_it_was():
    kernel = Polynomial(2, offset=1.0, fixed=("offset",), active_dims=(0,))
    before = repr(kernel)
    for change in ({"fixed": ("no",)}, {"active_dims": 1}, {"power": 0.5}, {"offset": -1.0}):
        with pytest.raises(InputError):
            kernel.set_params(**change)
    assert repr(kernel) == before
    assert not kernel.raw_offset.requires_grad


def test_abstract_kernel_says_what_is_missing():
    class Empty(Kernel):
        pass

    with pytest.raises(NotImplementedError, match="Empty implements no matrix"):
        covariance(Empty({}), rows(2, 1))
    with pytest.raises(NotImplementedError, match="Empty implements no diagonal"):
        variance(Empty({}), rows(2, 1))


@pytest.mark.parametrize("column", ["a", 1.5, -1, True])
def test_changepoint_refuses_what_is_no_column(column):
    with pytest.raises(InputError, match="column must be a column number from 0"):
        ChangePoint(RBF(1.0), RBF(2.0), location=0.0, width=1.0, column=column)


def test_gpytorch_kernels_print_in_a_line_inside_ours():
    inner = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel() + gpytorch.kernels.LinearKernel())
    text = repr(RBF(1.0) + inner)
    assert text.startswith("rbf(lengthscale=1) + ScaleKernel(AdditiveKernel(RBFKernel(lengthscale=0.6931)")
    assert "\n" not in text
