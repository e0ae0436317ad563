"""Inference of functions that are seen through a likelihood that is not Gaussian."""
