"""Panels of several outputs, and their exact answers by Kronecker products whose gaps are deleted."""

import numpy as np
import torch
from scipy.stats import multivariate_normal

from nonparam.kernels import covariance
from nonparam.means import Mean
from nonparam.multioutput.panel import Panel
from nonparam.scales import measure


def series(n, t, gaps=0.0, seed=0, d=2):
    """Rows, complete outputs of two shared functions, and the same with some entries missing."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2.0, 2.0, (n, d))
    shared = np.c_[np.sin(2.0 * x[:, 0]) + 0.5 * x[:, -1], np.cos(2.0 * x[:, -1]) * x[:, 0]]
    y = shared @ rng.standard_normal((2, t)) + 0.2 * rng.standard_normal((n, t))
    gappy = np.where(rng.random((n, t)) < gaps, np.nan, y)
    return x, y, gappy


def panel_of(x, table, mean="constant"):
    scales = measure(x, np.nan_to_num(table), np.ones(len(x)), normalize_y=True, find_periods=False)
    return Panel(torch.from_numpy(x), torch.from_numpy(table), Mean.from_scales(mean, scales))


def random_parts(t, seed=0):
    """A covariance of the outputs and their noise variances."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((t, t))
    return torch.from_numpy(w @ w.T + 0.1 * np.eye(t)), torch.from_numpy(rng.uniform(0.05, 0.5, t))


def matrix_of(kernel, x):
    with torch.no_grad():
        return covariance(kernel, torch.from_numpy(x)).numpy()


def naive_covariance(b, noise, k, table):
    """The covariance of all entries, output after output, of which those that are NaN are deleted."""
    b, noise, k = (np.asarray(part) for part in (b, noise, k))
    whole = np.kron(b, k) + np.kron(np.diag(noise), np.eye(len(k)))
    seen = np.flatnonzero(np.isfinite(table.T.reshape(-1)))
    return whole[np.ix_(seen, seen)], table.T.reshape(-1)[seen], seen


def naive_basis(table):
    """Constants, one for each output."""
    n, t = table.shape
    seen = np.flatnonzero(np.isfinite(table.T.reshape(-1)))
    return np.kron(np.eye(t), np.ones((n, 1)))[seen]


def naive_log_density(a, y, basis):
    """The log density at the coefficients of largest likelihood."""
    solved = np.linalg.solve(a, basis)
    coefficients = np.linalg.solve(basis.T @ solved, solved.T @ y)
    return multivariate_normal(basis @ coefficients, a, allow_singular=False).logpdf(y)


def naive_prediction(kernel, b, noise, x, table, new):
    """Posterior means and covariances of all outputs at new rows, output after output, constants counted."""
    n, t = table.shape
    joint = matrix_of(kernel, np.r_[x, new])
    a, y, seen = naive_covariance(b, noise, joint[:n, :n], table)
    h, fresh = naive_basis(table), np.kron(np.eye(t), np.ones((len(new), 1)))
    cross = np.kron(b, joint[:n, n:])[seen]
    solved = np.linalg.solve(a, np.c_[cross, h])
    gain, weighted = solved[:, : cross.shape[1]], solved[:, cross.shape[1] :]
    information = np.linalg.inv(h.T @ weighted)
    coefficients = information @ weighted.T @ y
    mean = fresh @ coefficients + gain.T @ (y - h @ coefficients)
    left = fresh - gain.T @ h
    return mean, np.kron(b, joint[n:, n:]) - cross.T @ gain + left @ information @ left.T
