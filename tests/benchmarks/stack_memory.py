"""How much memory 100 members take above their data: in the stacks that a search makes of them, and forced into one.

The measure is 100 x (parameters + optimiser state + one batch's activations): parameters, two moments of each, and the
outputs of all layers for one batch. Gradients are not counted in it. Each case has a process of its own.

Run: python tests/benchmarks/stack_memory.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from itertools import pairwise

import numpy as np
from _bench import ONE_NETWORK, one_thread, table
from fit_memory import Peak, resident
from fit_time import job
from sklearn.base import clone
from sklearn.model_selection import KFold

from skmtl import MultiTaskRegressor
from skmtl.model_selection import StackedGridSearchCV, _grouping

CANDIDATES, FOLDS = 20, KFold(5)
MEMBERS, N, D, TASKS = CANDIDATES * FOLDS.n_splits, 2_500, 50, 5
WIDE, NARROW = {"hidden_layer_sizes": (256, 256)}, {"hidden_layer_sizes": (128, 128)}
CASES = {
    "hidden 256-256, batch 64": {**WIDE, "batch_size": 64},
    "hidden 256-256, batch 512": {**WIDE, "batch_size": 512},
    "hidden 256-256, batch 512, dropout": {**WIDE, "batch_size": 512, "dropout": 0.1},
    "soft sharing, hidden 128-128, batch 128": {**NARROW, "batch_size": 128, "sharing": "soft", "sharing_lambda": 1e-3},
}


def model_of(case: str) -> MultiTaskRegressor:
    """Return the estimator of a case."""
    params = {"optimizer": "adam", "weight_decay": 0.0, "max_epochs": 2, "random_state": 0}
    return MultiTaskRegressor(**params, **CASES[case], **ONE_NETWORK)


def need(model: MultiTaskRegressor) -> int:
    """Return the bytes of one member: parameters three times and one batch's activations, in float32."""
    towers = TASKS if model.sharing == "soft" else 1
    widths = [D, *model.hidden_layer_sizes]
    trunk = towers * sum((n_in + 1) * n_out for n_in, n_out in pairwise(widths))
    parameters = trunk + TASKS * (widths[-1] + 1)
    activations = model.batch_size * (towers * sum(widths[1:]) + TASKS)
    return 4 * (3 * parameters + activations)


def measure(case: str, way: str) -> None:
    """Print, as JSON, the largest resident size above the data, and what `max_bytes` goes by."""
    warnings.simplefilter("ignore")
    one_thread()
    model = model_of(case)
    X, y = job(N, D, TASKS)
    lrs = np.logspace(-4, -3, CANDIDATES).tolist()
    clone(model).set_params(hidden_layer_sizes=(8,)).fit(X, y)  # what a process keeps of its first fit is not counted
    if way == "one":
        _grouping.CACHE_BYTES, _grouping.MAX_MEMBERS = sys.maxsize, MEMBERS
    search = StackedGridSearchCV(model, {"lr": lrs}, cv=FOLDS, refit=False)
    before = resident()
    with Peak() as peak:
        search.fit(X, y)
    assert (search.n_stacks_ == 1) == (way == "one")
    first = clone(model).set_params(max_epochs=1).fit(X, y)
    bound = MEMBERS * _grouping.bytes_per_member(first)
    print(json.dumps({"peak": peak.bytes - before, "bound": bound}))


def main() -> None:
    rows = []
    for case in CASES:
        for way, what in (("search", "a search"), ("one", "forced into one stack")):
            command = [sys.executable, __file__, case, way]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            ratio, megabytes = found["peak"] / (MEMBERS * need(model_of(case))), found["peak"] / 1e6
            target = "-" if way == "one" else "<= 1.2"
            rows.append((f"{case}, {what}: {megabytes:.0f} MB, times the measure", f"{ratio:.2f}", target))
            if way == "one":
                share = found["peak"] / found["bound"]
                rows.append((f"{case}, {what}: over what max_bytes goes by", f"{share:.2f}", "<= 1"))
    table(f"Memory of {MEMBERS} members above the data: n = {N}, d = {D}, T = {TASKS}, float32", rows)


if __name__ == "__main__":
    measure(*sys.argv[1:]) if len(sys.argv) > 1 else main()
