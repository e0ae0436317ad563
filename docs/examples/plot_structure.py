"""
Parts and symmetries
====================

What a function is made of, and whether it has a symmetry: two questions that a kernel can put to the data.
"""

# %%
# Which inputs matter, and which of them together?
# ------------------------------------------------
#
# Friedman's function has five inputs that matter, of which the first two interact, and here three that do
# not. An additive kernel is a prior on functions of single inputs and of pairs, none of which has an average
# along any of its inputs: what one input does alone is found in its own part and nowhere else.

import matplotlib.pyplot as plt
import numpy as np

from nonparam import GPRegressor
from nonparam.kernels import RBF, Additive, Invariant, SoftInvariant

rng = np.random.default_rng(0)
X = rng.uniform(size=(200, 8))
truth = (
    10.0 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20.0 * (X[:, 2] - 0.5) ** 2 + 10.0 * X[:, 3] + 5.0 * X[:, 4]
)
model = GPRegressor(Additive(degree=2)).fit(X, truth + rng.standard_normal(200))

# %%
# The parts add up to the prediction; each has a share of the variance over the training rows. Of 8 single
# inputs and 28 pairs these explain more than 1 %:

parts = model.decompose()
for i in np.argsort(-parts.share):
    if parts.share[i] > 0.01:
        print(f"{parts.names[i]:8} {100 * parts.share[i]:5.1f} %")
small = parts.share[parts.share <= 0.01]
print(f"the other {len(small)} together {100 * small.sum():.1f} %")

# %%
# Lines are posterior means with bands of 50 and 95 %, without noise; the map is the part that only the first
# two inputs together explain.

model.plot_parts(6)
plt.show()

# %%
# Is there a symmetry?
# --------------------
#
# Readings over a square plate, which should look the same after a quarter turn; but one edge is a little
# warmer. The soft kernel is a sum of a part with the symmetry and one without, and the ratio of their
# variances is learnt: far below 1e-3 would be as good as exact.

places = rng.uniform(-1.0, 1.0, (200, 2))
radius, angle = np.hypot(*places.T), np.arctan2(places[:, 1], places[:, 0])
turned = np.cos(3.0 * radius) + radius**2 * np.cos(4.0 * angle)
readings = {"even plate": turned, "warm edge": turned + 0.3 * places[:, 0]}
noise = 0.05 * rng.standard_normal(200)
for name, values in readings.items():
    soft = GPRegressor(SoftInvariant(RBF(ard=False), "c4")).fit(places, values + noise)
    print(f"{name}: b^2 / a^2 = {soft.kernel_.value('breaking'):.1e}")

# %%
# Hypotheses are compared by their evidence, the probability of the data with hyperparameters averaged over.
# Differences are log Bayes factors in nats. The even plate does have mirrors too (``"d4"``), which the
# evidence sees; on the other one every strict symmetry fails, and the soft one wins.

hypotheses = {
    "none": RBF(ard=False),
    "reflection": Invariant(RBF(ard=False), "reflection"),
    "c4": Invariant(RBF(ard=False), "c4"),
    "d4": Invariant(RBF(ard=False), "d4"),
    "soft c4": SoftInvariant(RBF(ard=False), "c4"),
}
for name, values in readings.items():
    evidence = {
        key: GPRegressor(kernel).fit(places, values + noise).log_evidence()
        for key, kernel in hypotheses.items()
    }
    best = max(evidence.values())
    print(f"{name}: " + ", ".join(f"{key} {value - best:.1f}" for key, value in evidence.items()))

# %%
# The soft kernel's function and its part without the symmetry, where the warm edge is found.

side = np.linspace(-1.0, 1.0, 60)
grid = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
found = soft.decompose(grid)
figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
for ax, title, values in (
    (axes[0], "whole", soft.predict(grid)),
    (axes[1], "without the symmetry", found.mean[:, -1]),
):
    image = ax.pcolormesh(side, side, values.reshape(60, 60).T, cmap="RdBu_r", shading="gouraud")
    figure.colorbar(image, ax=ax)
    ax.set_title(title, loc="left")
    ax.set_aspect("equal")
plt.show()
