"""
The airline series
==================

Monthly passengers of international airlines, 1949 to 1960: a trend that grows, and a season that grows with
it. How far ahead can it be forecast, and why on a logarithmic scale?
"""

# %%
# One call fits structures with and without a season, on the series and on its logarithm. The last two years
# are held out.

import matplotlib.pyplot as plt

from nonparam import GPForecaster
from nonparam.datasets import load_airline

y = load_airline()
past, future = y[:-24], y[-24:]
forecaster = GPForecaster().fit(past)
print(forecaster.summary())

# %%
# The evidence chooses the logarithm: a season of constant relative size explains the series far better than
# one of constant size. The bands are those of single months; the dots are what happened.

ax = forecaster.plot(24)
ax.plot(future.index.to_timestamp(), future, "k.", label="held out")
plt.show()

# %%
# How good is it? The seasonal naive forecast repeats the last year.

median = forecaster.predict(24)
naive = past[-12:].to_list() * 2
for name, forecast in (("forecast", median), ("seasonal naive", naive)):
    print(f"mean absolute error of the {name}: {(future - forecast).abs().mean():.1f} thousand")
print(f"joint log density per month: {forecaster.log_predictive_density(future) / 24:.3f} nats")

# %%
# The parts of the fit and of the forecast, on the logarithmic scale, with bands of 50, 80 and 95 %.

forecaster.plot_components(24)
plt.show()
