"""What `import skmtl` costs over the packages it stands on, each in a fresh interpreter.

Run: python tests/benchmarks/import_time.py
"""

from __future__ import annotations

import resource
import subprocess
import sys

from _bench import table

BASE = "import torch, sklearn.base, sklearn.metrics, sklearn.model_selection, skorch"


def cpu_seconds(code: str) -> float:
    """Return user and system seconds of a fresh interpreter."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    seconds: dict[str, list[float]] = {"base": [], "skmtl": []}
    cpu_seconds("import skmtl")
    for _ in range(7):
        seconds["base"].append(cpu_seconds(BASE))
        seconds["skmtl"].append(cpu_seconds("import skmtl"))
    base, ours = (sorted(values)[3] for values in seconds.values())
    table(
        "import",
        [(f"skmtl ({ours:.2f} s) over torch + sklearn + skorch ({base:.2f} s)", f"{ours / base:.2f}", "<= 1.1")],
    )


if __name__ == "__main__":
    main()
