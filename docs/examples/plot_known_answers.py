"""
Mercury's perihelion: what a Bayes factor depends on
====================================================

The orbit of Mercury turns by some forty arc seconds a century more than the pull of the known planets
explains. Einstein's theory predicts the number. Newton's can be mended, with an unseen planet or a slightly
different law, to give any number. How strongly do the data prefer the theory that had no choice?
"""

# %%
# A hypothesis is what it says of the data before they are seen. In the 1920s the excess was taken to be 41.6
# arc seconds a century, with a standard error of 2. General relativity says 42.9, so that the measurement
# should be normal around that. A mended Newtonian theory says normal around :math:`\alpha`, a free
# parameter, and has to say as well how large that may be. Of either sign, and some tens of arc seconds, is
# what one could have defended: a normal prior around zero with a standard deviation of 50. Data and prior are
# those of Jefferys and Berger (1992), Ockham's razor and Bayesian analysis, American Scientist 80, 64-72.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm

from nonparam.model_selection import Hypothesis, bayes_factor, kass_raftery, sensitivity

measured, error = 41.6, 2.0

einstein = Hypothesis("general relativity", norm(42.9, error))


def newton(width):
    return Hypothesis("Newton, mended", lambda alpha: norm(alpha, error), prior=norm(0.0, width))


print(bayes_factor(einstein, newton(50.0), measured))

# %%
# The Bayes factor is a ratio of two densities at the same place, the measurement. The theory without a choice
# put nearly all of its probability there. The other one spread the same amount over everything that it could
# have explained as well, most of which was not observed. No penalty for the parameter was added by hand.

grid = np.linspace(-160.0, 160.0, 2001)
said = {"general relativity": norm(42.9, error), "Newton, prior width 50": norm(0.0, np.hypot(50.0, error))}
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
for name, density in said.items():
    (line,) = ax.plot(grid, density.pdf(grid), label=name)
    ax.plot(measured, density.pdf(measured), "o", color=line.get_color())
ax.axvline(measured, color="0.6", lw=1, zorder=0)
ax.set_yscale("log")
ax.set_ylim(1e-5, 1.0)
ax.set_xlabel("excess precession, arc seconds a century")
ax.set_ylabel("density of the measurement")
ax.legend(loc="upper left", frameon=False)
plt.show()

# %%
# How much of the answer is the prior's?
# --------------------------------------
#
# The factor of 29 belongs to the width of 50 as much as to the measurement. The table has the logarithm of
# the Bayes factor for the mended theory, below zero throughout, and in words how strong it is.

table = sensitivity(newton, einstein, measured, [10.0, 50.0, 500.0, 5000.0])
print(table.round(2).to_string(index=False))

# %%
# Widths from 30 to 60 hardly differ, by factors of 28 to 32; no normal prior around zero does better than 28
# to 1 against it, at a width about as large as the measurement. A narrower prior excludes what was seen. A
# wide one wastes its probability, and here is the paradox of Jeffreys and Lindley: each time the prior
# becomes ten times wider, the factor for general relativity becomes ten times larger, without any new data.
# A flat prior, the limit, would give an infinite factor whatever had been measured. It is refused as
# improper; and a prior that was made very wide "to be objective" decides the comparison all by itself.

widths = np.geomspace(8.0, 1e4, 200)
factors = norm.pdf(measured, 42.9, error) / norm.pdf(measured, 0.0, np.hypot(widths, error))
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.loglog(widths, factors, color="C0")
for width in (50.0, 500.0, 5000.0):
    factor = bayes_factor(einstein, newton(width), measured).value
    ax.plot(width, factor, "o", color="C0")
    ax.annotate(f"{factor:.0f}", (width, factor), (8, -12), textcoords="offset points")
edges = [1.0, np.exp(1.0), np.exp(3.0), np.exp(5.0), 2e4]
for low, high, shade in zip(edges[:-1], edges[1:], (0.0, 0.06, 0.12, 0.18), strict=True):
    ax.axhspan(low, high, color="0.4", alpha=shade, lw=0)
    ax.text(9.0e3, np.sqrt(low * min(high, 2e3)), kass_raftery(np.log(low * 1.01)), ha="right", va="center")
ax.set_ylim(1.0, 2e4)
ax.set_xlim(widths[0], 1e4)
ax.set_xlabel("standard deviation of the prior of the extra precession, arc seconds a century")
ax.set_ylabel("Bayes factor for general relativity")
plt.show()

# %%
# What stands whatever the width is the direction: no normal prior around zero turns the answer over. What
# does not stand without it is the number. Print a Bayes factor with the priors that it belongs to, and with
# its dependence on their width.
