"""
The airline series from start to finish
=======================================

Monthly passengers of international airlines, 1949 to 1960: a trend that grows, and a season that grows with
it. This page fits it, looks at the forecast and its parts, asks which structure the data support, tests the
forecasts on the past, takes in new months, and saves the result.
"""

# %%
# One call
# --------
#
# The last two years are held out. There is nothing to choose: structures with and without a season are
# fitted to the series and to its logarithm.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.dates import YearLocator

from nonparam import GPForecaster
from nonparam.datasets import load_airline

y = load_airline()
past, future = y[:-24], y[-24:]
forecaster = GPForecaster().fit(past)
print(forecaster.summary())

# %%
# The words say what was found; the table below them has the four models behind it, with their weights in the
# forecast and their evidence. A working day more, for which a month has a day less at the weekend, costs one
# percent: people fly at weekends. The evidence is the probability of the whole series under a model, its
# parameters integrated out, so it can be compared like any likelihood.
#
# Why the logarithm?
# ------------------
#
# On the left, each year has larger swings than the one before: a season of constant size is wrong at both
# ends. On the right, on the logarithmic scale, all years look alike. The evidence counts how much of the
# scale each transform takes up (the Jacobian), so that the two numbers above are densities of the same
# passengers. The logarithm wins by more than 20 nats, which is odds of billions to one.

fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for ax, scale in zip(axes, ("linear", "log"), strict=True):
    ax.plot(past.index.to_timestamp(), past, color="0.2", linewidth=1.0)
    ax.set(yscale=scale, xlabel="month", ylabel="thousands of passengers", title=f"{scale} scale")
    ax.xaxis.set_major_locator(YearLocator(2))
axes[1].set_yticks([100, 200, 300, 400, 500], labels=["100", "200", "300", "400", "500"], minor=False)
axes[1].tick_params(axis="y", which="minor", left=False, labelleft=False)
plt.show()

# %%
# The forecast
# ------------
#
# The line is the median. The bands hold a single month with 50, 80 and 95 %. The dots are what happened.

ax = forecaster.plot(24)
ax.plot(future.index.to_timestamp(), future, "k.", markersize=4, label="held out")
ax.legend(loc="upper left", ncols=2, frameon=False)
ax.set_xlim(np.datetime64("1954"), np.datetime64("1961"))
plt.show()

# %%
# The same in numbers: the median, any intervals, any quantiles. Index and units are those of the series.

table = forecaster.predict_interval(24, coverage=[0.8, 0.95])
print(table.head(3).round(0).to_string())
inside = [table[level, "lower"].lt(future) & table[level, "upper"].gt(future) for level in (0.8, 0.95)]
print(f"inside the intervals: {inside[0].sum()} of 24 for 80 %, {inside[1].sum()} of 24 for 95 %")

# %%
# Is it good? The seasonal naive forecast repeats the last year. The passengers of 1959 and 1960 grew faster
# than those of the year before, and both forecasts are too low; ours is so by half as much.

median = forecaster.predict(24)
naive = past[-12:].to_list() * 2
for name, forecast in (("forecast", median), ("seasonal naive", naive)):
    error = (future - forecast).abs()
    print(
        f"{name:15} mean absolute error {error.mean():5.1f} thousand, bias {(future - forecast).mean():5.1f}"
    )
print(f"joint log density per month: {forecaster.log_predictive_density(future) / 24:.3f} nats")

# %%
# A question about several months needs them jointly: how many passengers in the whole of 1959? Months that
# are too high come together, so their intervals cannot be combined one by one. Draw whole futures instead,
# and count in each.

futures = GPForecaster(random_state=0).fit(past).sample(12, n=2000)
low, middle, high = np.quantile(futures.sum(), [0.025, 0.5, 0.975])
print(f"1959: {middle:.0f} thousand, 95 % between {low:.0f} and {high:.0f}; it was {future[:12].sum():.0f}")
independent = 1.96 * np.sqrt(forecaster.predict_var(12)["variance"].sum())
print(f"half width {(high - low) / 2:.0f}; with independent months it would be {independent:.0f}")

# %%
# The parts
# ---------
#
# The fit is a sum. ``plot_components`` draws its parts on the scale of the model, here the logarithm, along
# the series and the forecast. Base, drift, trend and level share a panel: from the data one can tell their
# sum, and hardly which of them it is.

forecaster.plot_components(24)
plt.show()

# %%
# A season of 0.2 on the logarithmic scale is a factor of 1.22. The memory is small and known badly: its band
# is wider than anything it does. It helps forecasts of the next few months only.
#
# ``decompose`` returns the numbers, each part with its band. They add up to ``fit``.

parts = forecaster.decompose()
print(parts.attrs["transform"], parts.columns.unique("part").to_list())
means = parts.xs("mean", axis=1, level="bound")
print(f"largest difference: {(means.drop(columns='fit').sum(axis=1) - means['fit']).abs().max():.0e}")
print(np.exp(means["season"][-12:]).round(2).to_frame("factor").T.to_string())

# %%
# Which structure?
# ----------------
#
# ``compare`` fits structures by name. With ``fh`` it also predicts the last two years a year ahead from what
# was before, and gives the joint log density of a held-out month.

names = ["season, log", "season, identity", "no season", "no level", "no trend", "level only"]
table = forecaster.compare(names, fh=12, origins=2)
print(table[["log_evidence", "log_density", "weight", "effective_parameters"]].round(2).to_string())

# %%
# Season and logarithm are beyond doubt, by both numbers. The level is not: without it the evidence is a few
# nats better, and the forecasts of a year are about as good. So the forecaster keeps all parts, and the
# priors shrink what is not needed. That few nats say little about trends is the subject of
# :doc:`plot_trend_criterion`. The last column is how many numbers the fit can move freely: without a season
# the rest has to follow nearly every month.
#
# Tested on the past
# ------------------
#
# A single test may be luck. ``backtest`` moves the origin along the series, fits a copy of the forecaster
# to what was known, and scores the year that followed. MASE is the absolute error divided by that of the
# seasonal naive method within the training data: below 1 is better than that. CRPS and MSIS are the same for
# whole distributions and for 95 % intervals.

report = forecaster.backtest(y, fh=12, initial=72, step=12)
print(report)

# %%
fig, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
ax.plot(y.index.to_timestamp(), y, color="0.2", linewidth=1.0, label="passengers")
for i, (_, rows) in enumerate(report.table.groupby(level="origin")):
    at = rows["time"].dt.to_timestamp()
    label = ("95 %", "median") if i == 0 else (None, None)
    ax.fill_between(at, rows["lower95"], rows["upper95"], color="C0", alpha=0.25, lw=0, label=label[0])
    ax.plot(at, rows["median"], color="C0", linewidth=1.5, label=label[1])
ax.set(xlabel="month", ylabel="thousands of passengers")
ax.legend(loc="upper left", frameon=False)
plt.show()

# %%
# New months
# ----------
#
# Half a year later six months are known. ``update`` takes them in with the hyperparameters as they are;
# ``refit=True`` would search anew. The surprise of 1959 is seen: the forecast moves up.

before = forecaster.predict(range(7, 19))
forecaster.update(future[:6])
after = forecaster.predict(12)
for name, forecast in (("before", before), ("after", after)):
    error = (future[6:18] - forecast).abs().mean()
    print(f"{name:6} mean absolute error of the next year: {error:.1f} thousand")

# %%
# Files
# -----
#
# A fitted forecaster is a file of numbers and JSON. No code is run when it is read.

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "passengers.safetensors"
    forecaster.save(path)
    same = GPForecaster.load(path).predict(12).equals(forecaster.predict(12))
    print(f"{path.stat().st_size / 1024:.0f} kB, the same forecast: {same}")

# %%
# In short
# --------
#
# * ``GPForecaster().fit(y)`` needs no settings; ``summary()`` says what it found.
# * Intervals are those of single observations; draws answer questions about several.
# * ``compare`` tells hypotheses apart, ``backtest`` how well forecasts did.
# * Next: gaps and dates without a pattern in :doc:`plot_co2_gaps`, holidays and prices in :doc:`plot_shop`,
#   and whether to believe the bands in :doc:`plot_honest_intervals`.
