"""Gaussian processes of many rows, approximated by inducing points."""

