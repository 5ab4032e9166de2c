"""Reading batches ahead of time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tensordict import NestedKey
from torch import Tensor

__all__ = ["Prefetcher"]

Chosen = tuple[int, Tensor, dict[NestedKey, Tensor]]


class Prefetcher:
    """Keeps a few batches in the reading, by one thread.

    Items are chosen by whoever asks for a batch, in turn, so that a generator is drawn from as if nothing was read
    ahead; the thread reads them. Whoever writes waits for it first (:meth:`settle`): what a batch holds does not depend
    on which of the two was quicker.

    Args:
        depth: how many batches.
        read: reads the items at some indices.
    """

    def __init__(self, depth: int, read: Callable[[Tensor], Any]) -> None:
        self.depth = depth
        self._read = read
        self._queue: deque[tuple[Chosen, Future]] = deque()
        self._thread: ThreadPoolExecutor | None = None

    def next(self, size: int, choose: Callable[[int], tuple[Tensor, dict[NestedKey, Tensor]]]) -> tuple:
        """The next batch of ``size`` items, their indices, and what the sampler tells of them."""
        if self._queue and self._queue[0][0][0] != size:
            self.clear()
        while len(self._queue) <= self.depth:
            self._begin((size, *choose(size)))
        (_, index, info), batch = self._queue.popleft()
        return batch.result(), index, info

    def settle(self) -> None:
        """Waits until all that was chosen is read."""
        for _, batch in self._queue:
            batch.exception()

    def clear(self) -> None:
        """Drops what was chosen."""
        self.settle()
        self._queue.clear()

    def state_dict(self) -> list[dict[str, Any]]:
        """What was chosen and not returned yet, as it was read."""
        return [
            {
                "size": size,
                "index": index,
                "keys": [[key] if isinstance(key, str) else list(key) for key in info],
                "values": list(info.values()),
                "batch": batch.result(),
            }
            for (size, index, info), batch in self._queue
        ]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Goes on with those batches."""
        self.clear()
        for each in state:
            keys = [key[0] if len(key) == 1 else tuple(key) for key in each["keys"]]
            info = {key: value.clone() for key, value in zip(keys, each["values"], strict=True)}
            batch: Future = Future()
            batch.set_result(each["batch"].clone() if hasattr(each["batch"], "clone") else each["batch"])
            self._queue.append(((each["size"], each["index"].clone(), info), batch))

    def _begin(self, chosen: Chosen) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "replay-prefetch")
        self._queue.append((chosen, self._thread.submit(self._read, chosen[1])))
