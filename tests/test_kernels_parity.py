"""Every kernel against its twins in scikit-learn and GPyTorch, and inside GPyTorch's own models."""

import warnings

import gpytorch
import pytest
import torch
from cases import CASES, Case
from kernel_checks import assert_equal, crossed, grid, rows, rows_with_twins
from torch import Tensor

from nonparam.kernels import RBF, ChangePoint, Cosine, Linear, Scale, WhiteNoise, covariance, parse, variance


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


def test_compositions_of_gpytorch_are_evaluated_without_a_warning():
    from gpytorch.kernels import LinearKernel, RBFKernel, ScaleKernel

    x, z = rows(9, 2), rows(4, 2, seed=3)
    both = RBFKernel(active_dims=[1]) + LinearKernel()
    narrow = RBFKernel() + LinearKernel()
    narrow.active_dims = torch.tensor([1])
    for theirs in (both, ScaleKernel(both), both * RBFKernel(), both * ScaleKernel(both), both + narrow):
        theirs = theirs.double()
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("error")
            found = covariance(theirs, x), covariance(theirs, x, z), variance(theirs, x)
            warnings.simplefilter("ignore")
            expected = theirs(x).to_dense(), theirs(x, z).to_dense(), theirs(x, diag=True)
        for actual, dense in zip(found, expected, strict=True):
            assert_equal(actual, dense, 1e-10)


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


@pytest.mark.parametrize("column", [0, 1])
def test_one_kernel_of_a_column_that_is_a_regular_grid(column: int):
    x = torch.stack([torch.arange(5.0), 2.0 * torch.arange(5.0)], 1).double()
    found = covariance(RBF(1.5, active_dims=[column]), x)
    torch.testing.assert_close(found, covariance(RBF(1.5), x[:, [column]]))
    assert torch.equal(found, found.mT)
