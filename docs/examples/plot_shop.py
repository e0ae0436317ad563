"""
A shop: weeks, holidays, prices, and what if
============================================

A shop sells by the day. There is a week in its sales and a year, holidays, and promotions that the shop
decides on itself. The sales are simulated, so that the truth is known: can the forecaster tell these effects
apart, and say what a promotion will do?
"""

# %%
# Two and a half years of sales
# -----------------------------
#
# Expected sales are a product: a level that grows a little, a weekly pattern, a yearly wave, 30 % less for
# each euro above the usual price, and 40 % more with a promotion. Three days before Christmas sell twice as
# much; on Christmas, the day after and New Year's day few come. What is sold is a count, drawn around the
# expected number with twice the variance of a Poisson variable.

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from nonparam import GPForecaster
from nonparam.errors import InputError

rng = np.random.default_rng(2)
days = pd.date_range("2021-01-04", "2023-08-27", name="day")
X = pd.DataFrame(
    {
        "price": 5.0 + 0.5 * rng.standard_normal(len(days) // 14 + 1).repeat(14)[: len(days)].round(1),
        "promotion": rng.random(len(days) // 7 + 1).repeat(7)[: len(days)] < 0.15,
    },
    index=days,
)
YEARS = range(2021, 2025)
holidays = {
    "before Christmas": [f"{year}-12-{day}" for year in YEARS for day in (21, 22, 23)],
    "closed early": [f"{year}-{day}" for year in YEARS for day in ("12-25", "12-26", "01-01")],
}
WEEK = np.array([0.8, 0.8, 0.9, 1.0, 1.4, 1.7, 0.5])
named = {name: days.isin(pd.to_datetime(dates)) for name, dates in holidays.items()}
expected = (
    60.0
    * np.exp(0.0003 * np.arange(len(days)))
    * WEEK[days.dayofweek]
    * np.exp(0.2 * np.sin(2.0 * np.pi * days.dayofyear / 365.25))
    * np.exp(np.log(0.7) * (X["price"] - 5.0) + np.log(1.4) * X["promotion"])
    * np.where(named["before Christmas"], 2.0, 1.0)
    * np.where(named["closed early"], 0.3, 1.0)
)
sales = pd.Series(rng.negative_binomial(expected, 0.5), index=days, name="sales")
past, future = sales[:-28], sales[-28:]

forecaster = GPForecaster(holidays=holidays).fit(past, X)
print(forecaster.summary())

# %%
# Nothing was said about products. The logarithm was chosen, on which they are sums, and the effects come back
# as percentages with intervals: those of price and holidays have the truth near their middle, that of the
# promotion (40 %) has it at the edge. Two seasons come from the dates: for days, a week and, with two years
# or more, a year. The weight between both models says that two and a half years tell little about a year.
# The searches that did not converge are those of models without any weight.
#
# What is forecast needs what is known
# ------------------------------------
#
# Four weeks were held out. Their prices and promotions are part of ``X``, whose rows are found by
# their dates. Holidays need no ``X``: dates after the series are used by themselves.

table = forecaster.predict_interval(28, 0.9, X)
median = forecaster.predict(28, X)
inside = ((table["lower"] <= future) & (future <= table["upper"])).sum()
print(
    f"{inside} of 28 days inside the 90 % interval, mean absolute error {(future - median).abs().mean():.1f}"
)

ax = forecaster.plot(28, X=X)
ax.plot(future.index, future, "k.", markersize=5, label="came later")
ax.set_xlim(pd.Timestamp("2023-06-12"), future.index[-1] + pd.Timedelta(1, "D"))
ax.set_ylim(0.0, 320.0)
ax.legend(loc="upper left", ncols=3, frameon=False)
ax.set(xlabel="day", ylabel="sales")
plt.show()

# %%
# Without the future prices there is no forecast, and the error says which are missing.

for lacking in (None, X[:-5], X.drop(columns="price")):
    try:
        forecaster.predict(28, lacking)
    except InputError as error:
        print(error, end="\n\n")

# %%
# What if?
# --------
#
# A forecast with another ``X`` answers what a promotion in the third week would do, or a higher
# price. This is no more than the model: the promotions of the past were given at random here. In a
# shop that promotes when sales are low, an effect would mean something else.

plans = {"as usual": X.assign(price=5.0, promotion=False)}
plans["promotion"] = plans["as usual"].copy()
plans["promotion"].loc[future.index[14:21], "promotion"] = True
plans["one euro more"] = plans["as usual"].assign(price=6.0)
fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
for i, (name, plan) in enumerate(plans.items()):
    path = forecaster.predict(28, plan)
    ax.plot(path.index, path, f"C{i}", label=f"{name}: {path.sum():.0f} sold", zorder=3 - i)
ax.set(xlabel="day", ylabel="sales, median", ylim=(0.0, None))
ax.legend(loc="lower left", ncols=3, frameon=False)
plt.show()

# %%
# The parts
# ---------

christmas = slice("2022-11-15", "2023-01-31")
parts = forecaster.decompose(coverage=0.95)[christmas]
names = ["season 7", "season 365.25", "regressors", "holidays"]
fig, axes = plt.subplots(len(names), 1, figsize=(8, 6.4), sharex=True, sharey=True, layout="constrained")
for i, (ax, name) in enumerate(zip(axes, names, strict=True)):
    part = parts[name]
    ax.fill_between(part.index, part["lower"], part["upper"], color=f"C{i}", alpha=0.3, lw=0, step="mid")
    ax.step(part.index, part["mean"], color=f"C{i}", where="mid")
    ax.set_title(name, loc="left", fontsize="small")
fig.supylabel("effect on the logarithm of sales")
axes[-1].set_xlabel("day")
plt.show()

# %%
# Never below nothing
# -------------------
#
# An article that is sold once or twice a day has many days with none. There is no logarithm of 0, so the
# series stays as it is; its lower bounds stop at 0 because no observation was below. ``support="real"`` would
# let them pass, as temperatures or profits may.

slow = pd.Series(rng.poisson(0.8 * WEEK[days[:200].dayofweek]), index=days[:200], name="slow article")
for support in (None, "real"):
    bounds = GPForecaster(support=support).fit(slow).predict_interval(7, 0.9)
    print(f"support={support!r}: lower bounds {bounds['lower'].round(2).tolist()}")

# %%
# The forecast is still a continuous one: its quantiles need not be whole numbers, and a median of 0.6
# articles means that none or one is likely.
#
# All articles at once
# --------------------
#
# ``fit_panel`` takes a long table. Each series is fitted on its own, ``n_jobs`` at a time. The article that
# nobody has sold yet is named, and does not stop the others.

weeks = pd.date_range("2021-01-10", periods=130, freq="W")
tables = [
    pd.DataFrame({"unique_id": f"article {i}", "ds": weeks, "y": rng.poisson(30.0 * np.exp(wave), 130)})
    for i, wave in enumerate(0.3 * np.sin(2.0 * np.pi * (np.arange(130) / 52.18 + rng.random((6, 1)))))
]
tables.append(pd.DataFrame({"unique_id": "article 6", "ds": weeks, "y": np.nan}))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    panel = GPForecaster().fit_panel(pd.concat(tables), fh=8)
print(caught[0].message)
print(panel.report[["unique_id", "observations", "structure", "weight", "seconds"]].head(3).to_string())
print(panel.predict_interval(coverage=0.9).head(3).to_string())

# %%
# Thousands of series go the same way; with ``store="folder"`` results are written as they come, and a run
# that was killed goes on where it was.
