"""How much memory a fit takes above its data: a million rows of 50 features, float32.

Run: python tests/benchmarks/fit_memory.py
"""

from __future__ import annotations

import resource
import threading
import time

import numpy as np
from _bench import ONE_NETWORK, one_thread, table

from skmtl import MultiTaskRegressor

PAGE = resource.getpagesize()


def resident() -> int:
    """Return this process's resident bytes."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * PAGE


class Peak:
    """The largest resident size while a block runs, sampled every 2 ms."""

    def __enter__(self):
        self.bytes, self._running = resident(), True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while self._running:
            self.bytes = max(self.bytes, resident())
            time.sleep(0.002)

    def __exit__(self, *exception) -> None:
        self._running = False
        self._thread.join()


def main() -> None:
    one_thread()
    rng = np.random.default_rng(0)
    rows = []
    model = MultiTaskRegressor(batch_size=1024, max_epochs=1, **ONE_NETWORK)
    model.fit(rng.normal(size=(2000, 50)).astype(np.float32), rng.normal(size=(2000, 3)).astype(np.float32))
    for n_tasks, missing in ((1, 0.0), (3, 0.0), (3, 0.2)):
        X = rng.standard_normal(size=(1_000_000, 50), dtype=np.float32)
        y = rng.standard_normal(size=(1_000_000, n_tasks), dtype=np.float32)
        if missing:
            y[rng.random(y.shape) < missing] = np.nan
        before, size = resident(), X.nbytes + y.nbytes
        with Peak() as peak:
            model.fit(X, y)
        name = f"T = {n_tasks}, {missing:.0%} of labels missing ({size / 1e6:.0f} MB of data)"
        rows.append((f"{name}: peak above the data, over the data", f"{(peak.bytes - before) / size:.2f}", "<= 1.3"))
    table("fit: a million rows of 50 features, float32", rows)


if __name__ == "__main__":
    main()
