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
# Expected sales are a product: a level that grows a little, a weekly pattern, a yearly wave, 30 % less
# for each euro above the usual price, and 40 % more with a promotion. Three days before Christmas sell
# twice as much; on Christmas and New Year's day few come. What is sold is a count, drawn around
# the expected number with twice the variance of a Poisson variable.

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

forecaster = GPForecaster(season=[7, 365.25], holidays=holidays).fit(past, X)
print(forecaster.summary())
