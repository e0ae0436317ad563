"""
Weeks that were not measured
============================

Carbon dioxide at Mauna Loa, measured week by week since 1958. In the first years the instrument stood still
now and then: for a week, for a month, for a whole spring. What do gaps do to a forecast and to its parts?
And what if the times keep to no grid at all?
"""

# %%
# Gaps need no filling
# --------------------
#
# A Gaussian process is a joint density of any set of times, so a week that is missing is a week that is not
# in the set. NaN says so, and so does a row that is not there: both give the same fit. The season is a year
# of 52.18 weeks; it need not be a whole number.

import textwrap
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from nonparam import GPForecaster
from nonparam.datasets import load_co2

co2 = load_co2()
y, future = co2[:"1965"], co2["1966":"1967"]
forecaster = GPForecaster().fit(y)
print(forecaster.summary())
rows_left_out = GPForecaster().fit(y.dropna())
difference = (rows_left_out.predict(future.index) - forecaster.predict(future.index)).abs().max()
print(f"largest difference of the forecasts: {difference:.1e} ppmv")

# %%
ax = forecaster.plot(future.index)
ax.plot(future.index, future, "k.", markersize=3, label="came later")
ax.legend(loc="upper left", ncols=2, frameon=False)
ax.set(xlabel="week", ylabel="CO2, ppmv")
plt.show()
band = forecaster.predict_interval(future.index, 0.95)
above = (future > band["upper"]).mean()
print(f"above the 95 % band: {above:.0%} of the weeks; below: {(future < band['lower']).mean():.0%}")

# %%
# More weeks lie above than the 2.5 % that should: springs came higher than expected. But weeks are not
# independent, and a whole spring is missed together. Judge intervals over many origins, not over one.
#
# The logarithm and the series as it is are about equally probable: over eight years the level changes by 2 %,
# and no season can tell whether it grows with it. The forecast is the average of both, and they agree.
#
# What happened in a gap?
# -----------------------
#
# ``decompose`` goes through the gaps. Its band is that of the curve beneath the measurements, and it widens
# where there are none, from week to week as the nearest measurement gets farther away.

parts = forecaster.decompose()
scale = np.exp if parts.attrs["transform"] == "log" else np.asarray
curve = parts["fit"].apply(scale)
window = slice("1963-07", "1964-10")
fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
seen, label = curve[window], "95 %, without noise"
ax.fill_between(seen.index, seen["lower"], seen["upper"], color="C0", alpha=0.3, lw=0, label=label)
ax.plot(seen.index, seen["mean"], color="C0", label="fit")
ax.plot(y[window].index, y[window], "k.", markersize=5, label="measured")
ax.set(xlabel="week", ylabel="CO2, ppmv")
ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
plt.show()

widths = curve["upper"] - curve["lower"]
print(
    f"width of the band: {widths[y.notna()].median():.2f} ppmv where measured, "
    f"{widths[y.isna()].median():.2f} in gaps, {widths.max():.2f} at most"
)

# %%
# What do gaps cost?
# ------------------
#
# Take measurements away on purpose, and see what the parts lose: every other week; all springs, so that a
# part of the season is never seen; or the last year, so that the forecast starts from farther back. The
# forecast is that of 1966 each time. Errors are absolute; widths are those of the 95 % intervals.

weeks = pd.date_range("1966-01-01", periods=52, freq="W-SAT")
thinned = {
    "as it was": y,
    "every other week": y.where(np.arange(len(y)) % 2 == 0),
    "no spring": y.where(~y.index.month.isin([4, 5, 6])),
    "last year missing": y[:"1964"],
}
fits = {name: GPForecaster().fit(series) for name, series in thinned.items()}
spring = weeks.month.isin([4, 5, 6])
rows = {}
for name, fit in fits.items():
    band = fit.predict_interval(weeks, 0.95)
    error, width = (co2[weeks] - fit.predict(weeks)).abs(), band["upper"] - band["lower"]
    rows[name] = [
        thinned[name].count(),
        error.mean(),
        width.mean(),
        error[spring].mean(),
        width[spring].mean(),
    ]
columns = ["weeks", "error", "width", "error in spring", "width in spring"]
print(pd.DataFrame.from_dict(rows, orient="index", columns=columns).round(2).to_string())

# %%
# Half of the weeks are as good as all: neighbours say the same. A year that is missing at the end widens the
# intervals most, because the level may have wandered meanwhile; that its errors are among the smallest is
# luck: they are all of one year. Without any spring the curve is drawn from both of its sides, a bit too
# low, and the band of the season is wider just there.

fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
for ax, name in zip(axes, ("as it was", "no spring"), strict=True):
    table = fits[name].decompose(52)
    to_ppmv = float(y.mean()) if table.attrs["transform"] == "log" else 1.0
    season = to_ppmv * table["season"]["1965":]
    ax.fill_between(season.index, season["lower"], season["upper"], color="C1", alpha=0.3, lw=0, label="95 %")
    ax.plot(season.index, season["mean"], color="C1", label="season")
    ax.axvline(y.index[-1], color="0.3", linewidth=0.8, linestyle=":")
    ax.set(title=name, xlabel="week")
    ax.tick_params(axis="x", labelrotation=30)
axes[0].set_ylabel("season, ppmv")
axes[0].legend(loc="lower left", frameon=False)
plt.show()

# %%
# Times without a grid
# --------------------
#
# Someone who climbs the mountain now and then leaves dates that follow no calendar. Take 120 of the weeks at
# random, and shift each by some days. Each observation is used at its true time, and a season of a year stays
# a year. A warning says what "one step" means in such a series.

rng = np.random.default_rng(0)
known = y.dropna()
visits = known.iloc[np.sort(rng.choice(len(known), 120, replace=False))]
visits.index = visits.index + pd.to_timedelta(rng.integers(0, 5, 120), "D")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    irregular = GPForecaster().fit(visits)
print(textwrap.fill(str(caught[0].message), 100))

# %%
# So ask for dates. Any will do, as long as they come after the series.

dates = pd.to_datetime(["1966-02-14", "1966-05-01", "1966-10-01", "1967-05-01"])
table = irregular.predict_interval(dates, 0.95).assign(median=irregular.predict(dates))
print(table.round(1).to_string())

path = irregular.predict_quantiles(weeks, [0.025, 0.5, 0.975])
fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
ax.plot(visits.index, visits, "k.", markersize=4, label="visits")
ax.fill_between(weeks, path[0.025], path[0.975], color="C0", alpha=0.3, lw=0, label="95 %")
ax.plot(weeks, path[0.5], color="C0", label="median")
ax.plot(weeks, co2[weeks], "x", color="C3", markersize=3, label="came later")
ax.set(xlabel="date", ylabel="CO2, ppmv")
ax.legend(loc="upper left", ncols=2, frameon=False)
plt.show()

# %%
# In short
# --------
#
# * Leave gaps as they are. Do not fill them in: what is filled in counts as measured.
# * A forecast begins where the index ends. If the last rows are NaN it starts after them, and is wider.
# * ``decompose`` says what may have been in a gap, with a band.
# * Irregular dates are used at their true times; ask for the dates that you want.
