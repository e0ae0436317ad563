"""GPyTorch, as its examples use it, for `benchmarks/scale.py`: exact and variational Gaussian processes."""

import contextlib
import time
import warnings
from collections.abc import Iterator

import gpytorch
import numpy as np
import torch

NU = 1.5
LEAST_NOISE = 1.01e-4  # GPyTorch's likelihood takes no less by default
Hyperparameters = dict[str, np.ndarray | float]

warnings.simplefilter("ignore")


class Matern:
    """The prior of both models."""

    def add_prior(self, d: int) -> None:
        self.mean_module = gpytorch.means.ConstantMean()
        matern = gpytorch.kernels.MaternKernel(nu=NU, ard_num_dims=d)
        self.covar_module = gpytorch.kernels.ScaleKernel(matern)

    def forward(self, x: torch.Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))

    def move_to(self, at: Hyperparameters) -> None:
        self.covar_module.outputscale = float(at["outputscale"])
        self.covar_module.base_kernel.lengthscale = torch.as_tensor(at["lengthscale"])
        self.likelihood.noise = max(float(at["noise"]), LEAST_NOISE)

    def where(self) -> Hyperparameters:
        return {
            "outputscale": float(self.covar_module.outputscale),
            "lengthscale": self.covar_module.base_kernel.lengthscale.detach().double().numpy().ravel(),
            "noise": float(self.likelihood.noise),
        }


class Exact(Matern, gpytorch.models.ExactGP):
    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        super().__init__(x, y, gpytorch.likelihoods.GaussianLikelihood())
        self.add_prior(x.shape[1])


@contextlib.contextmanager
def solver(name: str) -> Iterator[None]:
    """``"cholesky"`` forces a factorisation; ``"default"`` leaves everything as it is."""
    if name == "default":
        yield
        return
    with gpytorch.settings.max_cholesky_size(10**6):
        yield


class Trainer:
    """Adam on the exact marginal likelihood, one step at a time."""

    def __init__(
        self, x: np.ndarray, y: np.ndarray, *, dtype: torch.dtype = torch.float32, name: str = "default"
    ) -> None:
        self.x, self.y, self.name = torch.tensor(x, dtype=dtype), torch.tensor(y, dtype=dtype), name
        self.model = Exact(self.x, self.y).to(dtype)
        self.evidence = gpytorch.mlls.ExactMarginalLogLikelihood(self.model.likelihood, self.model)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=0.1)

    def evaluate(self) -> tuple[float, Hyperparameters]:
        """Return the log marginal likelihood and its gradient in the logarithms of the hyperparameters."""
        self.model.zero_grad()
        with solver(self.name):
            value = self.evidence(self.model(self.x), self.y)
            value.backward()
        return float(value.detach()) * len(self.y), self._slopes()

    def _slopes(self) -> Hyperparameters:
        kernel, n = self.model.covar_module, len(self.y)

        def in_log(raw: torch.nn.Parameter, value: torch.Tensor) -> np.ndarray:
            slope_of_softplus = torch.sigmoid(raw.detach())
            return (raw.grad / slope_of_softplus * value.detach() * n).double().numpy().ravel()

        noise = self.model.likelihood.noise_covar
        return {
            "outputscale": float(in_log(kernel.raw_outputscale, kernel.outputscale)[0]),
            "lengthscale": in_log(kernel.base_kernel.raw_lengthscale, kernel.base_kernel.lengthscale),
            "noise": float(in_log(noise.raw_noise, noise.noise)[0]),
        }

    def step(self) -> None:
        self.optimiser.zero_grad()
        with solver(self.name):
            loss = -self.evidence(self.model(self.x), self.y)
            loss.backward()
        self.optimiser.step()

    def predict(self, x: np.ndarray, *, love: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return means and variances of the function without noise, from a model without caches."""
        self.model.eval()
        return self.predict_again(x, love=love)

    def predict_again(self, x: np.ndarray, *, love: bool = False) -> tuple[np.ndarray, np.ndarray]:
        rows = torch.tensor(x, dtype=self.x.dtype)
        with torch.no_grad(), solver(self.name), gpytorch.settings.fast_pred_var(love):
            found = self.model(rows)
            return found.mean.double().numpy(), found.variance.double().numpy()


class Sparse(Matern, gpytorch.models.ApproximateGP):
    def __init__(self, z: torch.Tensor) -> None:
        distribution = gpytorch.variational.NaturalVariationalDistribution(len(z))
        super().__init__(gpytorch.variational.VariationalStrategy(self, z, distribution))
        self.likelihood = gpytorch.likelihoods.GaussianLikelihood()
        self.add_prior(z.shape[1])


def fit_svgp(
    x: np.ndarray,
    y: np.ndarray,
    new: np.ndarray,
    *,
    at: Hyperparameters,
    inducing: int,
    epochs: int,
    seconds: float,
) -> tuple[np.ndarray, np.ndarray, float, list[float]]:
    """Fit by minibatches of 1024: natural gradients of 0.1 for the distribution, Adam at 0.01 for the rest.

    It begins at given hyperparameters; in the last quarter Adam's rate is a tenth. Returns means and
    variances of new observations, the seconds, and the mean bound of each epoch that these allowed.
    """
    torch.manual_seed(0)
    rows, targets = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
    model = Sparse(rows[torch.randperm(len(rows))[:inducing]].clone())
    model.move_to(at)
    bound = gpytorch.mlls.VariationalELBO(model.likelihood, model, num_data=len(rows))
    natural = gpytorch.optim.NGD(model.variational_parameters(), num_data=len(rows), lr=0.1)
    adam = torch.optim.Adam(model.hyperparameters(), lr=0.01)
    bounds: list[float] = []
    began = time.perf_counter()
    while (spent := max(len(bounds) / epochs, (time.perf_counter() - began) / seconds)) < 1.0:
        adam.param_groups[0]["lr"] = 0.01 if spent < 0.75 else 0.001
        values = []
        for batch in torch.randperm(len(rows)).split(1024):
            natural.zero_grad()
            adam.zero_grad()
            value = bound(model(rows[batch]), targets[batch])
            (-value).backward()
            natural.step()
            adam.step()
            values.append(float(value.detach()))
        bounds.append(float(np.mean(values)))
    elapsed = time.perf_counter() - began
    model.eval()
    with torch.no_grad():
        found = model.likelihood(model(torch.tensor(new, dtype=torch.float32)))
    return found.mean.double().numpy(), found.variance.double().numpy(), elapsed, bounds
