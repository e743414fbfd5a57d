"""Steps captured once as CUDA graphs and replayed; elsewhere they simply run. Knows no sampling."""

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

NUM_WARM_UPS = 2


class GraphBook:
    """Captured steps by key. A step reads and writes tensors at fixed addresses only."""

    def __init__(
        self, device: torch.device, statics: Sequence[Tensor], *, is_capturable: bool
    ) -> None:
        """Begin with no graph.

        Args:
            device: where steps run.
            statics: all tensors that steps change and that a capture must leave as they are.
            is_capturable: whether steps may be captured if the device is a GPU.
        """
        self._device = device
        self._statics = statics
        self._captures = is_capturable and device.type == "cuda"
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._pool = torch.cuda.graph_pool_handle() if self._captures else None

    def __len__(self) -> int:
        return len(self._graphs)

    def run(self, key: Hashable, step: Callable[[], None]) -> None:
        """Launch the step that `key` names; returns before it is done."""
        if not self._captures:
            step()
            return
        if key not in self._graphs:
            self._graphs[key] = self._capture(step)
        self._graphs[key].replay()

    def _capture(self, step: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """Compile what has to be compiled, then record the launches; nothing changes by it."""
        saved = [tensor.clone() for tensor in self._statics]
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(NUM_WARM_UPS):
                step()
                for tensor, value in zip(self._statics, saved, strict=True):
                    tensor.copy_(value)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            step()
        return graph
