"""
A hole in a pattern
===================

A woven cloth is seen but for a patch. A smooth kernel fills the hole with a blur; a spectral mixture has
learnt the threads around it and goes on with them.
"""

# %%
# Threads of two directions go over and under each other; light falls from one side, and there is noise.
# The cloth is 72 by 72 pixels, of which a patch of 20 by 24 is missing.

import matplotlib.pyplot as plt
import numpy as np

from nonparam import GPRegressor
from nonparam.kernels import separable_spectral_mixture

rows, columns = np.meshgrid(np.arange(72.0), np.arange(72.0), indexing="ij")
down, across = np.sin(np.pi * columns / 4.6), np.sin(np.pi * rows / 5.7)
over = down * across > 0.0
cloth = np.where(over, np.abs(down), 0.55 * np.abs(across)) + 0.004 * columns
cloth = (cloth - cloth.mean()) / cloth.std() + 0.1 * np.random.default_rng(0).standard_normal(cloth.shape)

missing = np.zeros(cloth.shape, dtype=bool)
missing[26:46, 22:46] = True
pixels = np.stack([rows, columns], -1)

# %%
# On a complete grid the covariance of a product of two kernels, one for each direction, is a Kronecker
# product, and a step of training takes milliseconds. With a hole the grid is not complete. But the lines
# above and below the hole are: 52 whole lines of 72 pixels. The kernel, a product of spectral mixtures, is
# learnt from these.

whole = ~missing.any(1)
kernel = separable_spectral_mixture(4, 2)
model = GPRegressor(kernel, solver="kronecker", random_state=0).fit(
    pixels[whole].reshape(-1, 2), cloth[whole].ravel()
)
print(model.fit_report_)

# %%
# It says that its 200 steps were not enough: the kernel is good, and not quite the best. Variance can move
# from one factor of the product to the other with little effect; another 200 steps gain 4 nats. Periods that
# it found, in pixels: the threads repeat every 11.4 down and every 9.2 across, with harmonics; what is longer
# than the cloth is its mean and the light.

for name, mixture in zip(("down", "across"), model.kernel_.kernels, strict=True):
    found = sorted((abs(part.kernel.value("frequency")) for part in mixture.kernels), reverse=True)
    print(f"{name}: " + ", ".join("longer than the cloth" if f < 1 / 72 else f"{1 / f:.3g}" for f in found))

# %%
# The pixels left and right of the hole come in by ``update``, which conditions on them without training; that
# part has no structure, and is factorised as any other matrix is.

beside = ~missing & ~whole[:, None]
model.update(pixels[beside], cloth[beside])
filled, sd = model.predict(pixels[missing], return_std=True)

# %%
# For comparison the same with a smooth kernel.

smooth = GPRegressor("rbf", solver="kronecker").fit(pixels[whole].reshape(-1, 2), cloth[whole].ravel())
smooth.update(pixels[beside], cloth[beside])
blur = smooth.predict(pixels[missing])

figure, axes = plt.subplots(1, 4, figsize=(12, 3.4), layout="constrained")
for ax, title, patch in zip(
    axes,
    ("seen", "smooth kernel", "spectral mixture", "what was there"),
    (np.nan, blur, filled, cloth[missing]),
    strict=True,
):
    shown = cloth.copy()
    shown[missing] = patch
    ax.imshow(shown, cmap="gray", vmin=-2.0, vmax=2.5)
    ax.set_title(title, loc="left")
    ax.set_axis_off()
plt.show()

# %%
# How far off each is, in standard deviations of the cloth, of which a tenth is noise; and whether the
# spectral mixture knows how far off it is.

for name, mean in (("smooth kernel", blur), ("spectral mixture", filled)):
    print(f"{name}: root mean squared error {np.sqrt(np.mean((mean - cloth[missing]) ** 2)):.2f}")
inside = np.abs(filled - cloth[missing]) < 1.96 * sd
print(f"share of missing pixels within the 95 % band: {inside.mean():.2f}")
