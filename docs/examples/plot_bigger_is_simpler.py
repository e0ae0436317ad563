"""
Is a bigger model really simpler?
=================================

Which model of the airline passengers would you choose: a straight line, one of ten parameters, or one of
10,000? The answer that surprises is the last, if it has the right prior. The prior decides, not the count.
"""

# %%
# Five models of one form
# -----------------------
#
# All of them are linear: the logarithm of the passengers is a weighted sum of features of the month, and the
# weights have a normal prior. The straight line has two weights, with the constant, and the second model ten:
# a cubic, and sines and cosines of one, two and three cycles a year.

import matplotlib.pyplot as plt
import numpy as np
import torch

from nonparam import GPRegressor
from nonparam.datasets import load_airline
from nonparam.kernels import Linear
from nonparam.kernels.random_features import random_features
from nonparam.model_selection import clml, effective_parameters, lml

passengers = load_airline()
y = np.log(passengers.to_numpy(dtype=float))
t = np.arange(len(y), dtype=float)[:, None]
n = len(y) - 24  # the last two years are held out


def cycles(frequencies):
    phase = 2.0 * np.pi * t * frequencies
    return np.hstack([np.cos(phase), np.sin(phase)])


u = 2.0 * t / (n - 1) - 1.0
cubic = Linear(center=0.0, ard=False, active_dims=range(3))
season = Linear(center=0.0, ard=False, active_dims=range(3, 9))
models = {
    "line": (t, "linear", "learn"),
    "ten": (np.hstack([u, u**2, u**3, cycles(np.arange(1, 4) / 12.0)]), cubic + season, "learn"),
}

# %%
# The other three have 10,000. The naive one has waves of 5,000 frequencies and no preference among them:
# every weight has the same variance, which is learnt. The others sample their features from a kernel whose
# hyperparameters maximise LML: frequencies to which it gives more variance are drawn more often. One kernel
# says only that the function is smooth; the other says what one would tell a friend about such a series:
# there is a trend, the year repeats itself though not for ever, and the rest is rough.

grid = 0.5 * np.arange(1, 5001) / 5000.0  # cycles a month
models["naive"] = (cycles(grid), Linear(center=0.0, ard=False), "learn")
for name, formula, terms in (
    ("smooth", "rbf", 1),
    ("structured", "linear + periodic(12) * rbf + matern32", 2),
):
    prior = GPRegressor(formula).fit(t[:n], y[:n])
    features = random_features(prior.kernel_, torch.tensor(t[:n]), 5000 // terms, seed=0)(torch.tensor(t))
    equal = Linear(1.0, center=0.0, ard=False, fixed=("variance",))
    models[name] = (features.numpy(), equal, float(prior.noise_))

# %%
# What they are worth
# -------------------
#
# The effective number of parameters is how many of them the data move. LML and the conditional LML know the
# first ten years only; the last columns are about the two years that no model has seen: the joint log density
# of their months, and the mean absolute error of the forecast, in thousands of passengers.

fitted, scores, ahead = {}, {}, np.arange(n, len(y))
print("             weights  effective     LML    CLML  held out  error")
for name, (table, kernel, noise) in models.items():
    model = GPRegressor(kernel, noise=noise).fit(table[:n], y[:n])
    effective, total, inside = effective_parameters(model), lml(model), clml(model)
    mean, sd = model.predict(table, return_std=True)
    model.update(table[n:], y[n:])
    density = model.joint_density().held_out([ahead])[0].log_joint / len(ahead)
    error = np.abs(np.exp(mean) - np.exp(y))[n:].mean()
    fitted[name], scores[name] = (mean, sd), (inside, density)
    print(
        f"{name:12} {table.shape[1] + 1:7,} {effective:10.1f} {total:7.1f} {inside.value:7.3f} "
        f"{density:9.3f} {error:6.1f}"
    )

# %%
# Of the 10,000 weights of the structured model the data move some 36: it is as simple as the series lets it
# be, and able to be less so should the data ask for it. The ten weights have to serve for everything; what
# they cannot say is called noise. Waves of all frequencies alike add up to a different number for each month,
# independent of all others: the naive model remembers the months that it has seen and knows nothing of any
# other. It loses to the straight line.

figure, axes = plt.subplots(2, 2, figsize=(9, 6), layout="constrained", sharex=True, sharey=True)
years = passengers.index.to_timestamp()
titles = {
    "line": "straight line",
    "ten": "ten weights",
    "structured": "10,000 weights, structured prior",
    "naive": "10,000 weights, naive prior",
}
for ax, (name, title) in zip(axes.flat, titles.items(), strict=True):
    mean, sd = fitted[name]
    ax.plot(years, np.exp(mean), color="C0", linewidth=1.0)
    ax.fill_between(
        years[n:],
        np.exp(mean - 1.96 * sd)[n:],
        np.exp(mean + 1.96 * sd)[n:],
        color="C0",
        alpha=0.25,
        linewidth=0,
    )
    ax.plot(years[:n], np.exp(y[:n]), ".", color="0.5", markersize=3)
    ax.plot(years[n:], np.exp(y[n:]), "k.", markersize=4, label="held out")
    ax.set_title(title, loc="left")
axes[0, 0].set_ylim(50.0, 900.0)
axes[0, 0].legend(frameon=False, loc="upper left")
figure.supylabel("thousands of passengers")
plt.show()

# %%
# Bands are those of 95 % for single months. The same in numbers, for each model above the naive one:

names = ["line", "smooth", "ten", "structured"]
floor = scores["naive"]
height = 0.38
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
place = np.arange(len(names))
inside = [scores[name][0].value - floor[0].value for name in names]
outside = [scores[name][1] - floor[1] for name in names]
errors = [1.96 * scores[name][0].standard_error for name in names]
ax.barh(place + height / 2, inside, height, xerr=errors, label="CLML of the first ten years")
ax.barh(place - height / 2, outside, height, label="log density of the last two")
ax.set_yticks(place, names)
ax.set_xlabel("nats per month above the naive model")
ax.legend(frameon=False, loc="lower right")
plt.show()

# %%
# Three models have the same number of parameters and lie at both ends of the table. Counting parameters, as
# BIC and AIC do, says nothing here: what a model can represent is one thing, what it expects another, and a
# good prior is wide in the first and narrow in the second.
#
# Is the structured model the best there is? That it has competitors shows how little one series can settle.
# Box and Jenkins's seasonal ARIMA of the logarithms, in units of passengers, has -4.15 nats per month with
# the last 24 months held out where this model has -4.03, and -4.17 with 29 where it has -4.07. Its mean
# absolute error is 39 thousand against 15 with 24 months, and 13 against 26 with 29.
