"""GPBoost, for `likelihoods_vecchia.py`: run by the Python of its own environment.

Arguments: a file with ``X``, ``y``, ``X_test``, ``pars`` (noise, variance, lengthscales) and the number of
neighbours; and the file to write: the log likelihood and predictions at these values, then, if ``fitted`` is
true in the first file, those after a fit, each with the seconds that they took.
"""

import sys
import time

import gpboost
import numpy as np


def model_of(data: np.lib.npyio.NpzFile) -> gpboost.GPModel:
    return gpboost.GPModel(
        gp_coords=data["X"],
        cov_function="matern_ard",
        cov_fct_shape=2.5,
        gp_approx="vecchia",
        num_neighbors=int(data["num_neighbours"]),
        vecchia_ordering="random",
        likelihood="gaussian",
        seed=0,
    )


def predicted(model: gpboost.GPModel, data: np.lib.npyio.NpzFile, pars: np.ndarray | None) -> tuple:
    began = time.perf_counter()
    found = model.predict(
        gp_coords_pred=data["X_test"],
        predict_var=True,
        predict_response=True,
        cov_pars=pars,
        y=data["y"],
    )
    return found["mu"], found["var"], time.perf_counter() - began


def main() -> None:
    data, results = np.load(sys.argv[1]), {}
    began = time.perf_counter()
    model = model_of(data)
    model.set_prediction_data(
        vecchia_pred_type="order_obs_first_cond_obs_only", num_neighbors_pred=2 * int(data["num_neighbours"])
    )
    results["build_seconds"] = time.perf_counter() - began
    for name in ("first", "again"):
        began = time.perf_counter()
        results["lml"] = -model.neg_log_likelihood(cov_pars=data["pars"], y=data["y"])
        results[f"lml_{name}_seconds"] = time.perf_counter() - began
    results["mean"], results["variance"], results["predict_seconds"] = predicted(model, data, data["pars"])
    if bool(data["fitted"]):
        results |= fit(data)
    np.savez(sys.argv[2], **results)


def fit(data: np.lib.npyio.NpzFile) -> dict[str, object]:
    fitted, results = model_of(data), {}
    fitted.set_prediction_data(
        vecchia_pred_type="order_obs_first_cond_obs_only",
        num_neighbors_pred=2 * int(data["num_neighbours"]),
    )
    began = time.perf_counter()
    fitted.fit(y=data["y"], params={"trace": False})
    results["fit_seconds"] = time.perf_counter() - began
    results["fit_pars"] = np.asarray(fitted.get_cov_pars()).ravel()
    results["fit_lml"] = -fitted.get_current_neg_log_likelihood()
    results["fit_mean"], results["fit_variance"], _ = predicted(fitted, data, None)
    return results


if __name__ == "__main__":
    main()
