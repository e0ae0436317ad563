"""Finite networks keep scikit-learn's contract."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from nonparam import FiniteNetworkClassifier, FiniteNetworkRegressor


@parametrize_with_checks(
    [
        FiniteNetworkRegressor((8,), optimizer="adam", lr=0.03, batch_size=20, epochs=12),
        FiniteNetworkClassifier((8,), optimizer="adam", lr=0.03, batch_size=20, epochs=12, average="swag"),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
