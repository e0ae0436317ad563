"""Networks of finite width; `nonparam.kernels.InfiniteNetwork` has their limits."""

from nonparam.networks.finite import FiniteNetwork

__all__ = ["FiniteNetwork"]
