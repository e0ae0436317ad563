"""Predicted times: what they grow with, and which solver they favour."""

import pytest

from nonparam.calibration import Rates
from nonparam.costs import FIXED, cg_seconds, cholesky_seconds

RATES = Rates(3e10, 3.6e10, 2.5e10, 2e7, 1e8, 1.6e10)  # of one core
FASTER = Rates(*(2.0 * rate for rate in vars(RATES).values()))


def test_a_machine_twice_as_fast_takes_half_the_time_beyond_what_is_fixed():
    def varying(seconds):
        return seconds.fit - FIXED, seconds.predict - FIXED

    for n in (500, 5000, 50_000):
        for exact in (True, False):
            slow, fast = (cg_seconds(n, 9, rates, exact=exact) for rates in (RATES, FASTER))
            assert varying(slow) == pytest.approx([2.0 * part for part in varying(fast)])
        slow, fast = (cholesky_seconds(n, 9, rates) for rates in (RATES, FASTER))
        assert varying(slow) == pytest.approx([2.0 * part for part in varying(fast)])


def test_orders_of_growth():
    far = 10**6
    cubic = cholesky_seconds(2 * far, 9, RATES).fit / cholesky_seconds(far, 9, RATES).fit
    square = [
        cg_seconds(n, 9, RATES, exact=False, kept=False).fit for n in (far, 2 * far)
    ]  # the preconditioner and the subsets are small there
    assert cubic == pytest.approx(8.0, rel=0.01)
    assert square[1] / square[0] == pytest.approx(4.0, rel=0.02)


def test_evaluations_that_were_counted():
    """One evaluation of 2,500 rows was measured at 0.62 s on one core; 33 with 8 columns, 68 with 18."""
    assert cholesky_seconds(2500, 8, RATES).fit == pytest.approx(33 * 0.62, rel=0.3)
    assert cholesky_seconds(2500, 18, RATES).fit == pytest.approx(68 * 0.62, rel=0.3)


def test_what_adds_to_the_time():
    base = cg_seconds(20_000, 9, RATES, exact=True).fit
    assert base < cg_seconds(20_000, 9, RATES, exact=True, kept=False).fit
    assert base < cg_seconds(20_000, 9, RATES, exact=True, searches=3).fit
    assert base > cg_seconds(20_000, 9, RATES, exact=True, workers=4).fit
    assert base > cg_seconds(20_000, 9, RATES, exact=True, train=False).fit
    assert base < cg_seconds(20_000, 40, RATES, exact=True).fit


def test_conjugate_gradients_win_on_many_rows_and_not_on_few():
    def ratio(n):
        return cg_seconds(n, 9, RATES, exact=True).fit / cholesky_seconds(n, 9, RATES).fit

    assert ratio(800) > 1.0
    assert ratio(6000) < 1.0
    assert ratio(20_000) < ratio(6000)
