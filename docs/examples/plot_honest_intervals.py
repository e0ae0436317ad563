"""
How honest are the intervals?
=============================

An interval of 95 % should miss one time in twenty. Whether it does can be counted, where the future is known.
Here series are simulated: some of them made as the forecaster thinks that series are made, others not. The
panels where it fails stay.
"""

# %%
# Five kinds of series
# --------------------
#
# All have a season of a year, and noise. The first has what the model has too. The other four break a rule
# each: the slope turns abruptly now and then; the level jumps; the noise is Student's t with two degrees
# of freedom, whose variance is infinite; and the last is a plain random walk, but only 24 months of it.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from nonparam import GPForecaster

MONTHS, AHEAD, SERIES = 72, 12, 30
rng = np.random.default_rng(0)
t = np.arange(MONTHS + AHEAD)


def season_and_noise(noise):
    waves = np.stack([np.sin(2.0 * np.pi * t / 12.0), np.cos(2.0 * np.pi * t / 12.0)])
    return rng.standard_normal(2) @ waves + 0.5 * noise


def as_the_model():
    walk = np.cumsum(0.2 * rng.standard_normal(len(t)))
    return 0.05 * rng.standard_normal() * t + walk + season_and_noise(rng.standard_normal(len(t)))


def turning_trend():
    turns = np.cumsum(rng.integers(20, 50, 6))
    slopes = 0.15 * rng.standard_normal(7)
    trend = np.cumsum(slopes[np.searchsorted(turns, t)])
    return trend + season_and_noise(rng.standard_normal(len(t)))


def level_shifts():
    jumps = 4.0 * rng.standard_normal(len(t)) * (rng.random(len(t)) < 0.03)
    return np.cumsum(jumps) + season_and_noise(rng.standard_normal(len(t)))


def heavy_tails():
    return 0.03 * t + season_and_noise(rng.standard_t(2.0, len(t)))


def short_walk():
    return np.cumsum(rng.standard_normal(24 + AHEAD))


KINDS = (as_the_model, turning_trend, level_shifts, heavy_tails, short_walk)


def simulated(kind, count):
    """Return series of a kind as a wide table."""
    table = pd.DataFrame({f"series {i}": kind() for i in range(count)})
    return table.set_index(pd.period_range("2015-01", periods=len(table), freq="M"))


def inside(table):
    """Return whether the intervals of 80 and 95 % hold what came: two tables, a row for each series."""
    past, future = table[:-AHEAD], table[-AHEAD:].to_numpy().T
    panel = GPForecaster(support="real").fit_panel(past, fh=AHEAD)
    bounds = panel.predict_interval(coverage=[0.8, 0.95])
    shape = (table.shape[1], AHEAD)
    sides = {level: bounds[level].to_numpy().reshape(*shape, 2) for level in (0.8, 0.95)}
    return {level: (b[..., 0] <= future) & (future <= b[..., 1]) for level, b in sides.items()}


examples = {kind.__name__.replace("_", " "): simulated(kind, SERIES) for kind in KINDS}
found = {name: inside(table) for name, table in examples.items()}

# %%
# One of each kind, with its forecast made 12 months before the end:

fig, axes = plt.subplots(1, len(KINDS), figsize=(12, 2.6), layout="constrained")
for ax, (name, table) in zip(axes, examples.items(), strict=True):
    y = table["series 2"]
    band = GPForecaster(support="real").fit(y[:-AHEAD]).predict_interval(AHEAD, 0.95)
    ax.fill_between(np.arange(len(y))[-AHEAD:], band["lower"], band["upper"], color="C0", alpha=0.35, lw=0)
    ax.plot(np.arange(len(y)), y, color="0.2", linewidth=0.9)
    ax.set_title(name)
    ax.set_xlabel("month")
plt.show()

# %%
# How many are inside?
# --------------------

fig, axes = plt.subplots(1, len(KINDS), figsize=(12, 3.0), layout="constrained", sharey=True)
months = np.arange(1, AHEAD + 1)
for ax, (name, hits) in zip(axes, found.items(), strict=True):
    for color, (level, hit) in zip(("C1", "C0"), hits.items(), strict=True):
        ax.axhline(level, color=color, linestyle=":", linewidth=1.0)
        ax.plot(months, hit.mean(0), color=color, marker=".", label=f"{level:.0%} interval")
    ax.set(title=name, xlabel="months ahead", ylim=(0.4, 1.02))
axes[0].set_ylabel("share inside")
axes[0].legend(loc="lower left", frameon=False)
plt.show()

print(f"{SERIES} series of each kind, {AHEAD} months ahead; standard errors over series")
for name, hits in found.items():
    shares = [
        f"{level:.0%}: {hit.mean():.2f} +- {hit.mean(1).std() / SERIES**0.5:.2f}"
        for level, hit in hits.items()
    ]
    print(f"{name:14} {'   '.join(shares)}")
