"""The columns of the table of a comparison: headings, units, digits and meanings."""

from dataclasses import dataclass

__all__ = ["ABOUT", "COLUMNS", "SHOWN", "UNITS", "Column"]


@dataclass(frozen=True)
class Column:
    """A column of the table: its heading, its unit, the format of its numbers, and what it is."""

    heading: str
    unit: str
    digits: str
    meaning: str


COLUMNS = {
    "lml": Column("LML", "nats", ".2f", "log marginal likelihood of all rows at the fitted hyperparameters"),
    "log_evidence": Column(
        "log evidence", "nats", ".2f", "the same, with the hyperparameters integrated out"
    ),
    "clml": Column(
        "CLML",
        "nats per row",
        ".3f",
        "conditional marginal likelihood: joint log density of a tenth of the rows",
    ),
    "clml_se": Column("CLML s.e.", "nats per row", ".3f", "its standard error over orderings"),
    "loo": Column("LOO", "nats per row", ".3f", "mean log density of each row given all others"),
    "k_fold_log_loss": Column(
        "k-fold log loss (refitted)", "nats per row", ".3f", "minus the log density of each fold's rows"
    ),
    "k_fold_rmse": Column(
        "k-fold RMSE (refitted)", "unit of y", ".4g", "root mean squared error in each fold"
    ),
    "tc_gap": Column(
        "TC gap",
        "nats per row",
        ".3f",
        "CLML minus the marginal log densities of the same rows: what they share",
    ),
    "effective_parameters": Column(
        "effective parameters", "", ".1f", "how many parameters the data determine"
    ),
    "parameters": Column("parameters", "", ".0f", "nominal number: hyperparameters and coefficients"),
    "bic": Column("BIC", "nats", ".2f", "the largest likelihood less half of log n for each parameter"),
    "aic": Column("AIC", "nats", ".2f", "the largest likelihood less one for each parameter"),
    "fit_seconds": Column("fit", "s", ".2f", "wall-clock time of the fit to all rows"),
    "hyperparameters": Column(
        "hyperparameters", "", "", "in CLML, LOO and TC gap: fixed at those of all rows, refitted, or none"
    ),
}
ABOUT = {
    "k_fold": "k-fold",
    "increments": "curves",
    "sensitivity": "widths of the priors",
    "sd": "standard deviation",
}  # no columns
UNITS = "LML and log evidence in nats over all rows; CLML, LOO and k-fold log loss in nats per row."
SHOWN = (
    "lml",
    "log_evidence",
    "clml",
    "clml_se",
    "loo",
    "k_fold_log_loss",
    "k_fold_rmse",
    "effective_parameters",
)
