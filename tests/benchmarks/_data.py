"""Find the folder of real data sets, read one of them, and what else the scripts on real data share."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import torch

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"  # beside the checkout


def data_folder() -> Path | None:
    """Return the folder of data sets: environment variable SKMTL_DATA, else shared/data beside the checkout."""
    folder = Path(os.environ.get("SKMTL_DATA", BESIDE))
    return folder if (folder / "load.py").is_file() else None


def load(name: str):
    """Return X, y and the description of a data set; where there is no data say so and end the script with 0."""
    folder = data_folder()
    if folder is None:
        print(
            "No data found: set SKMTL_DATA to the folder that holds load.py and the data sets, or put it at "
            "shared/data beside the checkout. Nothing was measured."
        )
        sys.exit(0)
    spec = importlib.util.spec_from_file_location("skmtl_real_data", folder / "load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(name)


def begin(description: str) -> bool:
    """Parse the command line, use one thread, print the title; return whether --full was given."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--full", action="store_true", help="the whole protocol instead of the quick run")
    full = parser.parse_args().full
    torch.set_num_threads(1)
    print(f"{description}\nRun: {'--full' if full else 'quick (fewer splits and candidates; --full for all)'}\n")
    return full


def mean_std(values, digits: int = 4) -> str:
    """Return 'mean ± std' of some numbers."""
    values = np.asarray(values, dtype=float)
    return f"{values.mean():.{digits}f} ± {values.std():.{digits}f}"


def print_table(head: list[str], rows: list[list]) -> None:
    """Print rows in aligned columns, the first to the left."""
    cells = [[str(c) for c in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for k, row in enumerate(cells):
        first, *rest = (c.rjust(w) if j else c.ljust(w) for j, (c, w) in enumerate(zip(row, widths, strict=True)))
        print("  ".join([first, *rest]), flush=True)
        if k == 0:
            print("  ".join("-" * w for w in widths))
    print(flush=True)
