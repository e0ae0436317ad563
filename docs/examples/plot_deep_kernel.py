"""
Learnt features, and when to do without
=======================================

A kernel says how alike two inputs are. A deep kernel learns that: a network moves the inputs to where a
plain kernel suits them. Such kernels are known to fool themselves, so this one has to earn its place.
"""

# %%
# A curved edge
# -------------
#
# The function jumps along a parabola and is smooth elsewhere. A stationary kernel is as rough everywhere as
# it has to be at the edge, and its lengthscales run along the axes, which the edge does not.

import matplotlib.pyplot as plt
import numpy as np

from nonparam import DeepKernelRegressor, GPRegressor

rng = np.random.default_rng(0)


def function(x):
    return np.tanh(15.0 * (x[:, 0] + x[:, 1] ** 2 - 0.3)) + 0.5 * np.sin(3.0 * x[:, 1])


X = rng.uniform(-1.0, 1.0, (300, 2))
y = function(X) + 0.1 * rng.standard_normal(300)
plain = GPRegressor("matern52").fit(X, y)
deep = DeepKernelRegressor((32, 2), max_steps=200, random_state=0).fit(X, y)

# %%
# Each row was held out once while networks were trained on the others. Their densities decide whether the
# network is used, when training ends, and how much noise the model admits to.

print("learnt features are used:", deep.uses_features_)
print(f"a held-out row, before and after: {deep.training_.scores[0]:.2f}, {deep.training_.score:.2f} nats")
new = rng.uniform(-1.0, 1.0, (2000, 2))
truth = function(new) + 0.1 * rng.standard_normal(2000)
for name, model in {"plain": plain, "deep": deep}.items():
    mean, sd = model.predict(new, return_std=True)
    density = -0.5 * np.mean(np.log(2.0 * np.pi * sd**2) + ((truth - mean) / sd) ** 2)
    print(f"{name:5}: RMSE {np.sqrt(np.mean((truth - mean) ** 2)):.3f}, {density:.2f} nats for a new row")

# %%
# The means, and what the network did to a grid of inputs. It bends them a little, along and across the edge;
# from 300 rows no more is learnt that unseen rows confirm, and the gain is small.

axis = np.linspace(-1.0, 1.0, 60)
grid = np.stack(np.meshgrid(axis, axis), -1)
figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
for ax, name, model in zip(axes, ("plain", "deep"), (plain, deep), strict=False):
    image = ax.pcolormesh(axis, axis, model.predict(grid.reshape(-1, 2)).reshape(60, 60), vmin=-1.5, vmax=1.5)
    ax.set(title=f"{name}, mean", aspect="equal")
figure.colorbar(image, ax=axes[:2])
moved = deep.features(grid[::3, ::3].reshape(-1, 2)).reshape(20, 20, 2)
axes[2].plot(*moved.transpose(2, 0, 1), color="0.7", linewidth=0.6)
axes[2].plot(*moved.transpose(2, 1, 0), color="0.7", linewidth=0.6)
features = deep.features(X)
axes[2].scatter(*features.T, c=y, s=8, zorder=2)
axes[2].set(title="the inputs, moved", xlabel="first column", ylabel="second column")
plt.show()

# %%
# Where a network has nothing to find, it is left out, and the model is that of `GPRegressor`.

smooth = np.sin(2.0 * X[:, 0]) + X[:, 1] + 0.1 * rng.standard_normal(300)
model = DeepKernelRegressor((32, 2), max_steps=200, random_state=0).fit(X, smooth)
print("learnt features are used:", model.uses_features_)
