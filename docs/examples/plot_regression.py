"""
A function and its uncertainty
==============================

A Gaussian process fitted to a few noisy observations: where there are data it follows them, where there are
none the bands widen.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

from nonparam import GPRegressor

rng = np.random.default_rng(0)
x = np.concatenate([rng.uniform(0.0, 4.0, 25), rng.uniform(7.0, 10.0, 15)])
y = np.sin(x) + 0.3 * x + 0.2 * rng.standard_normal(40)
model = GPRegressor("linear + rbf").fit(x[:, None], y)
model.plot()
plt.show()

# %%
# The fitted kernel is a formula in the units of the data, and the report says what training did.

print(model.kernel_)
print(f"noise variance {model.noise_:.3f} (the truth is 0.04)")
print(model.fit_report_)

# %%
# Draws from the posterior are functions that the data allow.

grid = np.linspace(-1.0, 11.0, 200)[:, None]
plt.plot(grid, model.sample_y(grid, 6, random_state=1, include_noise=False), lw=1)
plt.plot(x, y, "k.")
plt.xlabel("x")
plt.show()

# %%
# Two hypotheses, compared by their evidence: is there a straight line beneath?

for kernel in ("rbf", "linear + rbf"):
    evidence = GPRegressor(kernel).fit(x[:, None], y).log_marginal_likelihood_
    print(f"{kernel}: log marginal likelihood {evidence:.1f} nats")
