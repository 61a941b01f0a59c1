"""Patients: a scan and a table give disease, lesion and survival, shared against alone, at equal steps.

The table, times and deaths are those of flchain; 800 patients to train on and 1,600 to test on are drawn from the seed.
To each belongs a generated scan of 24 by 24 pixels: a disc, larger with age, in noise; the disease is a disc above a
size, seen through noise. 80 of the 800 discs are drawn. All networks take 36 epochs over the same rows, without early
stopping. Settings were chosen on 2,400 other patients. Accuracy, intersection over union and concordance on the test
rows, mean over seeds; processor seconds of a fit. Baselines: the best threshold on pixels, chosen on test rows, and,
where scikit-survival is installed, Cox's model of the table. Run: python tests/benchmarks/real_patients.py
"""

from __future__ import annotations

import time

import numpy as np
from _data import begin, load, mean_std, print_table

from skmtl import MultiTaskEstimator, records
from skmtl.encoders import ConvEncoder
from skmtl.metrics import concordance_index, iou
from skmtl.tasks import Mask, Survival

SIZE, N_TRAIN, N_TEST, N_DRAWN = 24, 800, 1600, 80
TASKS = {"disease": "classification", "lesion": Mask(), "death": Survival("days", "died")}
COMMON = {"n_members": 1, "early_stopping": False, "batch_size": 64, "max_epochs": 36}
TRAIN, TEST = np.arange(N_TRAIN), np.arange(N_TRAIN, N_TRAIN + N_TEST)


def patients(seed: int):
    """Return scan and table, targets with the lesions of 80 patients, and the lesions of all."""
    X, _, meta = load("flchain")
    rng = np.random.default_rng(seed)
    others = np.random.default_rng(2024).permutation(len(X))[2400:]  # settings were chosen on the first 2,400
    rows = rng.permutation(others)[: N_TRAIN + N_TEST]
    table = X[rows].astype(float)
    table = (table - table[TRAIN].mean(axis=0)) / table[TRAIN].std(axis=0)
    age = table[:, ["age" in name for name in meta["feature_names"]]][:, 0]
    radius = np.clip(0.16 + 0.04 * age + 0.03 * rng.normal(size=len(rows)), 0.05, 0.35)
    centre = rng.uniform(0.35, 0.65, (len(rows), 2, 1, 1))
    down, right = np.mgrid[:SIZE, :SIZE] / SIZE
    distance = np.hypot(right - centre[:, 0], down - centre[:, 1])
    lesion = (distance < radius[:, None, None]).astype(float)
    scan = 0.8 * lesion + rng.normal(0, 0.6, lesion.shape)
    disease = radius + 0.03 * rng.normal(size=len(rows)) > 0.18
    drawn = lesion.copy()
    drawn[rng.permutation(N_TRAIN)[N_DRAWN:]] = np.nan
    y = records(disease=disease, lesion=drawn, days=meta["time"][rows] + 1.0, died=meta["event"][rows].astype(float))
    return records(scan=scan.astype(np.float32), table=table.astype(np.float32)), y, lesion


def fit_and_score(sharing: str, pool: str, data, seed: int) -> list[float]:
    """Return accuracy, intersection over union, concordance and processor seconds of the fit."""
    X, y, lesion = data
    encoder = {"scan": ConvEncoder((8, 16, 16), pool=pool), "table": "passthrough"}
    start = time.process_time()
    model = MultiTaskEstimator(TASKS, sharing, encoder=encoder, random_state=seed, **COMMON).fit(X[TRAIN], y[TRAIN])
    seconds = time.process_time() - start
    found, risk = model.predict(X[TEST]), model.task("death").predict(X[TEST])
    return [
        float((found["disease"] == y["disease"][TEST]).mean()),
        iou(lesion[TEST], found["lesion"]),
        concordance_index(y["days"][TEST], y["died"][TEST], risk),
        seconds,
    ]


def baselines(data) -> list[float]:
    """Return the share of the larger class, intersection over union of a threshold, and concordance of Cox's model."""
    X, y, lesion = data
    ill = y["disease"][TEST].mean()
    overlap = max(iou(lesion[TEST], (X["scan"][TEST] > limit).astype(float)) for limit in (0.3, 0.5, 0.7, 0.9))
    return [max(ill, 1 - ill), overlap, _cox(X["table"], y), float("nan")]


def _cox(table: np.ndarray, y: np.ndarray) -> float:
    try:
        from sksurv.linear_model import CoxPHSurvivalAnalysis
        from sksurv.util import Surv
    except ImportError:
        return float("nan")
    known = Surv.from_arrays(y["died"][TRAIN] > 0, y["days"][TRAIN])
    risk = CoxPHSurvivalAnalysis(alpha=0.1).fit(table[TRAIN], known).predict(table[TEST])
    return concordance_index(y["days"][TEST], y["died"][TEST], risk)


def row(name: str, found: list[list[float]]) -> list[str]:
    """Return a row of the table: mean and deviation over seeds."""
    columns = np.transpose(found)
    return [name, *(mean_std(column, 3) for column in columns[:-1]), f"{columns[-1].mean():.0f}"]


if __name__ == "__main__":
    seeds = range(3 if begin("Patients: disease, lesion, survival") else 1)
    data = [patients(seed) for seed in seeds]
    rows = [row("baselines", [baselines(own) for own in data])]
    for pool in ("mean", "flatten"):
        for sharing in ("independent", "hard", "soft", "cross_stitch"):
            found = [fit_and_score(sharing, pool, own, seed) for seed, own in zip(seeds, data, strict=True)]
            rows.append(row(f"{sharing}, pool={pool!r}", found))
            print(rows[-1], flush=True)
    print()
    print_table(["", "disease", "lesion", "death", "seconds"], rows)
