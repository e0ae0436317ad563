r"""The covariance matrix of many rows on several devices and in several processes.

Each worker has some strips of the tiles on and above the diagonal, which it evaluates and multiplies by; the
vectors are the same everywhere. What the workers found is summed, so that each has the whole:

.. math::

    K V = \sum_w K^{(w)} V, \qquad
    \partial_\theta \, u^\top K v = \sum_w \partial_\theta \, u^\top K^{(w)} v.

All processes run the same program on the same data. The sum is the only thing that they share, and comes out
the same to the last digit on each, so that what follows from it does too.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import gpytorch
import torch
from torch import Tensor, distributed

from nonparam.errors import WorkerLostError
from nonparam.kernels.engine import tiles_for
from nonparam.kernels.tiles import Tile, Tiles, checked, deal, strips_of

__all__ = ["ShardedOperator", "local_devices", "num_processes"]

STRIPS = 32  # for each process, so that each of its devices has some
LEAST_ROWS = 256  # of a strip
APART = 1e-3  # relative difference of vectors that ought to be the same

T = TypeVar("T")


class ShardedOperator:
    """The covariance matrix ``K`` of the rows of ``x``, shared among devices and processes.

    It gives what a `KernelOperator` gives. Each process of the group makes one, and all call it in the same
    order.

    Args:
        kernel: ours or GPyTorch's, at one value of its hyperparameters; later changes do not reach it.
        x: ``(n, d)``, all rows, the same in each process.
        devices: of this process, among which its part is shared again; by default that of ``x``.
        group: the processes; by default all, or this one alone where `torch.distributed` is not initialised.
        tile: rows and columns of the pieces, as for `KernelOperator`; the same in each process.
        keep: whether each device stores its tiles, together half the matrix.

    Raises:
        InputError: as for `KernelOperator`.

    Source: Wang et al. (2019), Exact Gaussian processes on a million data points, section 3.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> x = torch.tensor([[0.0], [1.0], [2.0]])
        >>> k = ShardedOperator(2.0 * RBF(1.0), x, devices=["cpu", "cpu"], tile=(1, 3))
        >>> k @ torch.ones(3, 1)
        tensor([[3.4837],
                [4.4261],
                [3.4837]])
    """

    def __init__(
        self,
        kernel: gpytorch.kernels.Kernel,
        x: Tensor,
        *,
        devices: Sequence[torch.device | str] | None = None,
        group: distributed.ProcessGroup | None = None,
        tile: Tile | None = None,
        keep: bool = False,
    ) -> None:
        self.x = x.detach()
        self.group = group
        processes = num_processes(group)
        tile = _even(checked(tile, x), len(x), processes)
        rank = distributed.get_rank(group) if processes > 1 else 0
        mine = deal(strips_of(len(x), tile[0]), processes)[rank]
        places = [self.x.device] if devices is None else devices
        self._parts = [
            tiles_for(kernel, x.to(place), tile=tile, strips=strips, keep=keep)
            for place, strips in zip(places, deal(mine, len(places)), strict=True)
        ]

    @property
    def shape(self) -> torch.Size:
        """Return ``(n, n)``."""
        return torch.Size((len(self.x), len(self.x)))

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its products, that of ``x``."""
        return self.x.dtype

    @property
    def device(self) -> torch.device:
        """Where its products are returned: the device of ``x``."""
        return self.x.device

    def __matmul__(self, v: Tensor) -> Tensor:
        """Return the product with ``v (n, k)``.

        Raises:
            WorkerLostError: another process has ended, hangs, or is not at this product.
        """
        across = v.mT.contiguous()
        found = self._on_each(lambda part: part.product(across.to(part.x.device)).to(v.device))
        return self._summed(found, v).mT.to(v)

    def diagonal(self) -> Tensor:
        """Return the variances, ``(n,)``."""
        return self._parts[0].variance.to(self.device)

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows with these numbers, ``(b, n)`` for ``index (b,)``: each process evaluates all."""
        first = self._parts[0]
        return first.rows(index.to(first.x.device)).to(self.device)

    def gradient(self, left: Tensor, right: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
        r"""Return the derivative of :math:`\sum_s u_s^\top K v_s` in parameters of the kernel.

        Args:
            left: ``u``, ``(n, s)``.
            right: ``v``, ``(n, s)``.
            parameters: of the kernel that the operator was made of.

        Returns:
            A derivative for each parameter, in its shape and precision.

        Raises:
            InputError: something that is no parameter of the kernel.
            WorkerLostError: another process has ended, hangs, or is not at this derivative.
        """

        def flat(part: Tiles) -> Tensor:
            u, v = left.to(part.x.device), right.to(part.x.device)
            slopes = [slope.flatten() for slope in part.gradient(u, v, parameters)]
            return torch.cat([left.new_empty(0, dtype=torch.float64), *(s.to(left.device) for s in slopes)])

        total = self._summed(self._on_each(flat), left)
        pieces = total.split([parameter.numel() for parameter in parameters])
        return [piece.view_as(p).to(p) for piece, p in zip(pieces, parameters, strict=True)]

    def _on_each(self, task: Callable[[Tiles], T]) -> list[T]:
        """Run a task for each device: a thread each, since evaluating a tile waits for its device."""
        if len(self._parts) == 1:
            return [task(self._parts[0])]
        with ThreadPoolExecutor(len(self._parts)) as pool:
            return list(pool.map(task, self._parts))

    def _summed(self, found: Sequence[Tensor], given: Tensor) -> Tensor:
        """Return the sum over devices and processes, all of which must have been given the same."""
        total = torch.stack(list(found)).sum(0)
        processes = num_processes(self.group)
        if processes == 1:
            return total
        mark = given.abs().sum(dtype=torch.float64)
        sent = torch.cat([total.flatten(), mark[None]])
        try:
            distributed.all_reduce(sent, group=self.group)
        except RuntimeError as error:
            raise WorkerLostError(
                f"process {distributed.get_rank()} could not sum over the {processes} processes: one of them "
                "has ended, hangs longer than the timeout of the process group, or runs another program; "
                f"look at its output, then start all again ({error})"
            ) from error
        if abs(float(sent[-1]) - processes * float(mark)) > APART * float(sent[-1]):
            raise WorkerLostError(
                f"process {distributed.get_rank()} was given other vectors than the {processes - 1} others: "
                "all processes must run the same program on the same data with the same random_state"
            )
        return sent[:-1].view_as(total)


def num_processes(group: distributed.ProcessGroup | None = None) -> int:
    """Return how many processes share the work: 1 where `torch.distributed` is not initialised."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return distributed.get_world_size(group)


def local_devices(device: torch.device) -> list[torch.device]:
    """Return the devices that one process shares its work among.

    Those are all visible GPUs where it is alone and works on the current one, else the given device:
    processes have a GPU each, and who names another GPU wants that one.
    """
    if device.type != "cuda" or num_processes() > 1 or device.index != torch.cuda.current_device():
        return [device]
    others = [i for i in range(torch.cuda.device_count()) if i != device.index]
    return [device, *(torch.device("cuda", i) for i in others)]


def _even(tile: Tile, n: int, processes: int) -> Tile:
    """Return a tile so low that every process gets many strips: without them work cannot be even."""
    return min(tile[0], max(LEAST_ROWS, -(-n // (STRIPS * processes)))), tile[1]
