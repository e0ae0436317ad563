"""
The structure of a series, in words
===================================

Which kernel? A search composes simple ones with sums and products, judges them by a criterion that counts
their hyperparameters, and says in plain words what it found. Here: the airline passengers.
"""

# %%
# Time is in months, and the search is told nothing of years. It begins with no structure; at each depth it
# tries everything that is one step away from the best few expressions, until nothing better comes.

import matplotlib.pyplot as plt
import numpy as np

from nonparam import KernelSearch
from nonparam.datasets import load_airline

series = load_airline()
months, passengers = np.arange(len(series))[:, None], series.to_numpy(dtype=float)
search = KernelSearch(verbose=1).fit(months, passengers)

# %%
# The expression, with the values that were fitted, and what it means.

print(search.best_kernel_)
print()
print(search.describe(x_unit="months", y_unit="thousand passengers"))

# %%
# All that was tried is in a table. Expressions that were clearly worse after a few steps were only screened.

print(search.results_.head(8).round(2).to_string())

# %%
# The fit, and each additive term of it with its 50 and 95 % bands.

search.plot()
plt.show()

# %%
# The search is an estimator of scikit-learn, and predicts as its best one does. Candidates are independent of
# each other: ``n_jobs=2`` fits two at a time, ``joblib.parallel_config("dask")`` spreads them over a cluster.

mean, sd = search.predict(np.arange(144, 156)[:, None], return_std=True)
print(f"next July: {mean[6]:.0f} thousand, give or take {sd[6]:.0f}")
