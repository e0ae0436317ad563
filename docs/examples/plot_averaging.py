"""
Averaging in place of choosing
==============================

Few rows leave much open: how fast a function varies, how much of it is noise, and which kind of function it
is. A fit takes the most probable answer and forgets the others. An average keeps them all, each with the
weight that the data give it.
"""

# %%
# Hyperparameters
# ---------------
# Ten noisy observations of a wave. On the left the model with the most probable lengthscale, variance and
# noise; on the right an average over all that are probable. Its band of 95 % is wider, most of all where
# there are no data: there the answer depends on them most.
import matplotlib.pyplot as plt
import numpy as np

from nonparam import GPRegressor, HyperparameterAverage, ModelAverage

rng = np.random.default_rng(4)
X = np.sort(rng.uniform(0.0, 6.0, 10))[:, None]
y = np.sin(X[:, 0]) + 0.2 * rng.standard_normal(10)
grid = np.linspace(-1.0, 9.0, 200)[:, None]

average = HyperparameterAverage(GPRegressor("rbf"), "grid").fit(X, y)
plug_in = average.estimator_

figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.5), sharey=True, layout="constrained")
for ax, model, title in zip(axes, (plug_in, average), ("most probable", "averaged"), strict=True):
    low, middle, high = model.predict_quantiles(grid, [0.025, 0.5, 0.975]).T
    ax.fill_between(grid[:, 0], low, high, alpha=0.25, label="95 % of new observations")
    ax.plot(grid[:, 0], middle, label="median")
    ax.plot(grid[:, 0], np.sin(grid[:, 0]), "k:", label="truth")
    ax.plot(X[:, 0], y, "k.")
    ax.set(title=title, xlabel="x", ylim=(-4.0, 4.0))
axes[0].legend(fontsize=8)
plt.show()

# %%
# The nodes are a table, with their weights: so few rows leave the lengthscale open.

lengthscales = np.exp(average.nodes_["kernel.lengthscale"].to_numpy())
order = np.argsort(lengthscales)
low, high = np.interp([0.025, 0.975], np.cumsum(average.weights_[order]), lengthscales[order])
likeliest = np.exp(plug_in.theta_[1])
print(f"lengthscale: {low:.2f} to {high:.2f} with 95 %, most probable {likeliest:.2f}")

# %%
# Do the bands hold what they promise? Sets of six and of ten rows, and a hundred new rows for each set. The
# average is the cautious one: more new rows are in its bands, above all for the unluckiest set. With six rows
# it pays for that with a lower mean density of new rows: it keeps rough functions, and the truth is smooth.


def checked(model, new, values):
    low, high = model.predict_quantiles(new, [0.025, 0.975]).T
    return np.mean((low < values) & (values < high)), model.log_predictive_density(new, values).mean()


def compared(n, seed):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0.0, 6.0, n))[:, None]
    observed = np.sin(x[:, 0]) + 0.2 * rng.standard_normal(n)
    fitted = HyperparameterAverage(GPRegressor("rbf"), n_draws=128).fit(x, observed)
    new = rng.uniform(0.0, 6.0, 100)[:, None]
    values = np.sin(new[:, 0]) + 0.2 * rng.standard_normal(100)
    return [checked(model, new, values) for model in (fitted.estimator_, fitted)]


for n in (6, 10):
    found = np.array([compared(n, seed) for seed in range(10)])
    for i, name in enumerate(("most probable", "averaged")):
        inside, density = found[:, i].T
        print(
            f"{n} rows, {name}: {inside.mean():.0%} of new rows in bands of 95 %, {inside.min():.0%} in the "
            f"worst set; {density.mean():.2f} nats a new row"
        )

# %%
# Models
# ------
# Is it a smooth function or a rough one? Evidence gives each the probability that it is the true one, if
# one of them is; stacking asks which mixture of both predicts each row best from the others. These are two
# questions, and ten rows may answer them differently.

models = [("smooth", GPRegressor("rbf")), ("rough", GPRegressor("matern12"))]
for weights in ("evidence", "stacking"):
    both = ModelAverage(models, weights=weights).fit(X, y)
    shares = ", ".join(f"{name} {w:.2f}" for name, w in zip(both.names_, both.weights_, strict=True))
    print(f"{weights}: {shares}")
