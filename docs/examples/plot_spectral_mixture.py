"""
Periods that nobody gave
========================

A spectral mixture learns which periods are in a series, how strictly each is kept, and goes on with them.
Here: carbon dioxide on Mauna Loa, of which it sees 200 months and is asked for the next 25 years.
"""

# %%
# Time is in years. The model is told nothing of a year: it looks at the spectrum of the series, starts from
# the peaks there, and lets the evidence choose how many of them to keep.

import matplotlib.pyplot as plt
import numpy as np

from nonparam import SpectralMixtureRegressor
from nonparam.datasets import load_co2

series = load_co2().resample("MS").mean().dropna()
t = np.asarray((series.index - series.index[0]).days)[:, None] / 365.25
y = series.to_numpy()
model = SpectralMixtureRegressor(max_components=6, mean="linear", random_state=0).fit(t[:200], y[:200])
print(f"{model.num_components_} components, log evidence in nats:")
for count, evidence in model.evidence_.items():
    print(f"  {count}: {evidence:.1f}")

# %%
# The spectrum that it learned, over the periodogram of the data without its line. Peaks are labelled with
# their periods in years: a year and half a year, found to a thousandth.

model.plot_spectrum()
plt.show()

# %%
# The forecast goes on with both. After 25 years the season is still in step; the line is not. That growth
# would quicken is nothing that a line and a stationary kernel can know, and the band, which trusts them, is
# far too narrow: a spectral mixture is to be trusted on periods, not on trends. For a series with a trend
# ``GPForecaster`` has a level that wanders.

mean, sd = model.predict(t, return_std=True)
band = 1.96 * sd
figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
ax.fill_between(t[:, 0], mean - band, mean + band, alpha=0.25, label="95 %")
ax.plot(t[:, 0], mean, label="mean")
ax.plot(t[:200, 0], y[:200], "k.", markersize=3, label="seen")
ax.plot(t[200:, 0], y[200:], ".", color="tab:gray", markersize=2, label="held out")
ax.set(xlabel="years since March 1958", ylabel="CO2, ppm")
ax.legend(frameon=False, loc="upper left")
plt.show()

late = slice(-60, None)
turns = np.corrcoef(np.diff(mean[late]), np.diff(y[late]))[0, 1]
inside = np.mean(np.abs(y[200:] - mean[200:]) < band[200:])
print(f"mean squared error on the held-out months: {np.mean((y[200:] - mean[200:]) ** 2):.1f} ppm^2")
print(f"share of them within the 95 % band: {inside:.2f}")
print(f"correlation of the monthly changes in the last five years: {turns:.2f}")
