"""
Infinitely wide networks beside finite ones
===========================================

A network with random weights is a random function. As its layers grow wider, that function tends to a
Gaussian process, and gradient descent tends to kernel regression with the tangent kernel. The limit has no
weights to train: it has an evidence, intervals, and a handful of variances that can be learnt. Is it a good
stand-in for the networks that people train?
"""

# %%
# One architecture
# ----------------
#
# An architecture gives the kernel of its limit, networks of any width, and its phase: whether signals die
# out in deep networks (ordered), are mixed up (chaotic), or neither (critical).

import matplotlib.pyplot as plt
import numpy as np
import torch

from nonparam import FiniteNetworkRegressor, InfiniteNetworkClassifier, InfiniteNetworkRegressor
from nonparam.kernels import covariance
from nonparam.networks import MLP, Conv2d, Dense, Flatten, Relu, Sequential, Unflatten, compare_widths

arch = MLP(2, "erf")
print(arch)
print(arch.phase(weight_variance=1.2, bias_variance=0.1))
print(arch.phase(weight_variance="critical", bias_variance=0.1))
kernel = arch.kernel("nngp", center=0.0, spread=1.0)
print(covariance(kernel, torch.eye(2, dtype=torch.float64)).detach())

# %%
# How wide is infinite?
# ---------------------
#
# Ten networks of each width start from random weights and are trained by gradient descent on all rows.
# The errors of both kernels fall as the root of the width. The distance of a trained network to its own
# linear part, in which features do not move, falls too.

rng = np.random.default_rng(0)
X = rng.uniform(-2.0, 2.0, (160, 2))
y = np.sin(2.0 * X[:, 0]) * X[:, 1] + 0.1 * rng.standard_normal(160)
report = compare_widths("erf-2", X, y, widths=(16, 64, 256), seeds=10, steps=100)
print(report)
report.plot()
plt.show()

# %%
# Learnt, fixed, trained
# ----------------------
#
# The limit as a prior, its variances learnt by the evidence; the same limit, trained by gradient flow for a
# while; and an ensemble of five finite networks. All give intervals for new observations. Those of networks
# that were only trained are too narrow: how networks differ after training says where they started, not what
# the data leave open. The ensemble of finite networks has learnt its noise from rows that were held out.

rows, new = X[:120], X[120:]
for name, model in {
    "infinite, by Bayes' rule": InfiniteNetworkRegressor("erf-2"),
    "infinite, trained for a time of 200": InfiniteNetworkRegressor("erf-2", kernel="ntk", train_time=200.0),
    "five finite networks": FiniteNetworkRegressor((64, 64), ensemble=5, random_state=0),
}.items():
    mean, sd = model.fit(rows, y[:120]).predict(new, return_std=True)
    inside = np.mean(np.abs(y[120:] - mean) < 1.645 * sd)
    print(f"{name:36} RMSE {np.sqrt(np.mean((y[120:] - mean) ** 2)):.2f}, 90 % intervals hold {inside:.0%}")

# %%
# Images
# ------
#
# Convolutions have limits too. Without a mean over places, the limit of a convolution compares each place of
# one image with the same place of another.

from sklearn.datasets import load_digits

digits, labels = load_digits(return_X_y=True)
convolution = Conv2d(3, padding="same")
image = Sequential(Unflatten(1, 8, 8), convolution, Relu(), convolution, Relu(), Flatten(), Dense())
for name, layers in {"dense": "relu-2", "convolutional": image}.items():
    model = InfiniteNetworkClassifier(layers, random_state=0).fit(digits[:150], labels[:150])
    chances = model.predict_proba(digits[150:650])
    right = np.mean(model.classes_[chances.argmax(1)] == labels[150:650])
    loss = -np.log(chances[np.arange(500), labels[150:650]]).mean()
    print(f"{name:14} {right:.1%} of 500 digits right, log loss {loss:.3f}, from 150 examples")
