"""
Counts, outliers and classes
============================

The function is a Gaussian process; what is seen of it is not Gaussian. Three small pictures: counts whose
rate varies, a curve with one measurement in ten far off, and three classes in a plane.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_blobs

from nonparam import GPClassifier, GPRegressor

rng = np.random.default_rng(0)
BLUE, ORANGE = "#3366aa", "#dd7733"

# %%
# Counts
# ------
# Events are counted in a hundred intervals; their rate has a hump. A Gaussian likelihood would have intervals
# below zero. Those of a Poisson likelihood are whole numbers, wide where the rate is high.

x = np.linspace(0.0, 10.0, 100)[:, None]
rate = 1.0 + 8.0 * np.exp(-0.5 * (x[:, 0] - 6.0) ** 2)
counts = rng.poisson(rate)
model = GPRegressor("rbf", likelihood="poisson").fit(x, counts)
low, middle, high = model.predict_quantiles(x, [0.05, 0.5, 0.95]).T

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.fill_between(x[:, 0], low, high, step="mid", color=BLUE, alpha=0.2, label="nine counts in ten")
axes.plot(x, model.predict(x), color=BLUE, label="expected count")
axes.plot(x, rate, color="black", lw=1, ls="--", label="rate they come from")
axes.plot(x, counts, ".", color="black", ms=4)
axes.set(xlabel="time", ylabel="events in an interval")
axes.legend(frameon=False)

# %%
# Outliers
# --------
# One measurement in ten is far off. A Gaussian likelihood believes all of them, and takes the rest for noise;
# Student's t says that such things happen.

x = np.sort(rng.uniform(0.0, 10.0, 80))[:, None]
truth = np.sin(x[:, 0])
y = truth + 0.1 * rng.standard_normal(80)
far = rng.random(80) < 0.1
y[far] += rng.uniform(2.0, 4.0, far.sum()) * rng.choice([-1.0, 1.0], far.sum())

figure, panels = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
for axes, likelihood in zip(panels, ("gaussian", "student_t"), strict=True):
    model = GPRegressor("rbf", likelihood=likelihood).fit(x, y)
    low, high = model.predict_quantiles(x, [0.05, 0.95]).T
    error = np.sqrt(np.mean((model.predict(x) - truth) ** 2))
    axes.fill_between(x[:, 0], low, high, color=BLUE, alpha=0.2)
    axes.plot(x, model.predict(x), color=BLUE)
    axes.plot(x[~far], y[~far], ".", color="black", ms=4)
    axes.plot(x[far], y[far], "x", color=ORANGE)
    axes.set(title=f"{likelihood}: {error:.2f} from the curve", xlabel="x")

# %%
# Classes
# -------
# Three classes in a plane that overlap. Probabilities are calibrated on rows that are left out one at a time,
# in closed form: where classes overlap the model says so, and far from all rows it returns to their shares.

points, labels = make_blobs(150, centers=[[0, 0], [2.2, 0.5], [0.8, 2.2]], cluster_std=0.7, random_state=1)
classifier = GPClassifier("rbf", random_state=0).fit(points, labels)
across, up = np.meshgrid(np.linspace(-4.0, 6.0, 120), np.linspace(-4.0, 6.0, 120))
shares = classifier.predict_proba(np.c_[across.ravel(), up.ravel()]).reshape(120, 120, 3)
print(classifier.calibration_)

figure, axes = plt.subplots(figsize=(5, 4.2), layout="constrained")
image = axes.pcolormesh(across, up, shares.max(2), cmap="Greys_r", vmin=1 / 3, vmax=1.0, shading="auto")
for name, colour in enumerate((BLUE, ORANGE, "#559955")):
    axes.plot(*points[labels == name].T, ".", color=colour)
figure.colorbar(image, label="probability of the likeliest class")
axes.set(xlabel="first column", ylabel="second column")
plt.show()
