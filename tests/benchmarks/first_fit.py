"""The first fit on someone's table: our defaults beside linear models, forests, boosters and other networks.

python tests/benchmarks/first_fit.py                 one seed, one fold, the quick models
python tests/benchmarks/first_fit.py --full          three seeds by three folds, all models that are installed
"""

from __future__ import annotations

import argparse
import ast
import json
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from _data import data_folder, print_table
from _first_fit_models import BUDGETS, MODELS, Tables, fit_skmtl, is_installed, is_within_budget
from _first_fit_sets import CHOICE, MAX_TEST, MAX_TRAIN, NOTES, REPORT, SHIPPED, folds, judged, read
from joblib import Parallel, delayed
from scipy.stats import rankdata
from sklearn.metrics import r2_score, roc_auc_score

QUICK = ["skmtl", "linear", "lightgbm"]
QUICK_SETS = ["enb", "iris", "oes97", "yeast", "wine"]
PROTOCOL = f"""Protocol: sets sorted by name, split alternately before anyone looked. Defaults were chosen on
  {" ".join(CHOICE)}
and are reported on
  {" ".join(REPORT)}.
At most {MAX_TRAIN:,} training and {MAX_TEST:,} test rows, drawn by seed; the file's split where it has one, else folds.
{NOTES}
Score: mean over tasks of R2 (no less than -1) or ROC-AUC (of each class against the rest, their mean). Tasks of one
class, or with a class that training lacks, are left out. Normalised: 0 is the constant, 1 the best model of the set;
sets on which no model beats the constant are left out of its mean.
Seconds: processor time of encoding, fit and prediction on one thread.

{BUDGETS}"""


def score(said, y: np.ndarray, tasks: np.ndarray, is_regression: bool) -> float:
    """Return the mean score of these tasks."""
    scores = []
    for t in tasks:
        seen = ~np.isnan(y[:, t])
        labels = y[seen, t]
        if is_regression:
            scores.append(max(-1.0, r2_score(labels, said[seen, t])))
            continue
        proba, classes = said[t]
        found = [c for c in range(len(classes)) if 0 < (labels == classes[c]).sum() < len(labels)]
        found = found[-1:] if len(classes) == 2 else found
        scores.append(np.mean([roc_auc_score(labels == classes[c], proba[seen, c]) for c in found]))
    return float(np.mean(scores))


def measure(name: str, seed: int, fold: int, n_folds: int, model: str, params: dict) -> dict:
    """Return the score and seconds of a model in a fold; None where the set is beyond its budget."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    table = read(name)
    train, test = list(folds(table, seed, n_folds))[fold]
    tasks = judged(table, train, test)
    y, y_test = table.y[:, tasks][train], table.y[:, tasks][test]
    tables = Tables(table.X.iloc[train], y, table.X.iloc[test], table.is_regression, seed)
    row = {"set": name, "seed": seed, "fold": fold, "model": model, "score": None, "seconds": 0.0, "rows": len(train)}
    row |= {"tasks": len(tasks), "regression": table.is_regression}
    if not is_within_budget(model, tables):
        return row
    start = time.process_time()
    said = MODELS[model](tables) if model in MODELS else fit_skmtl(tables, **params)
    row["seconds"] = time.process_time() - start
    return row | {"score": score(said, y_test, np.arange(len(tasks)), table.is_regression)}


def n_folds_of(name: str, wanted: int) -> int:
    """Return the number of folds of a set: one where its file has a split."""
    return 1 if read(name).split is not None else wanted


def report(rows: list[dict], models: list[str]) -> None:
    """Print scores by set, then the summary."""
    by = defaultdict(dict)
    for row in rows:
        if row["score"] is not None:
            by[row["set"], row["model"]][row["seed"], row["fold"]] = row
    names = list(dict.fromkeys(row["set"] for row in rows))
    zero = {row["set"]: 0.0 if row["regression"] else 0.5 for row in rows}
    mean = {key: np.mean([row["score"] for row in own.values()]) for key, own in by.items()}
    lines, normal, ranks = [], defaultdict(dict), defaultdict(list)
    for name in names:
        here = [model for model in models if (name, model) in mean]
        best = max(mean[name, model] for model in here) - zero[name]
        for model, rank in zip(here, rankdata([-mean[name, model] for model in here]), strict=True):
            normal[model][name] = (mean[name, model] - zero[name]) / best if best > 0 else np.nan
            ranks[model].append(rank)
        lines.append([name, *(f"{mean[name, m]:.4f}" if m in here else "-" for m in models)])
    print_table(["set", *models], lines)
    print_table(
        ["model", "sets", "normalised", "mean rank", "ours: wins-losses", "ours - it, same sets", "seconds", "ours/it"],
        [_summary(model, by, mean, normal, ranks, names) for model in models],
    )
    _below_linear(by, names)


def _summary(model: str, by: dict, mean: dict, normal: dict, ranks: dict, names: list[str]) -> list[str]:
    common = [name for name in names if name in normal[model] and name in normal["skmtl"]]
    gains = np.array([mean[name, "skmtl"] - mean[name, model] for name in common])
    normal_gains = [normal["skmtl"][name] - normal[model][name] for name in common]
    spent = {m: sum(row["seconds"] for name in common for row in by[name, m].values()) for m in (model, "skmtl")}
    return [
        model,
        str(len(normal[model])),
        f"{np.nanmean(list(normal[model].values())):.4f}",
        f"{np.mean(ranks[model]):.2f}",
        f"{(gains > 0).sum()}-{(gains < 0).sum()}",
        f"{np.nanmean(normal_gains):+.4f}",
        f"{spent[model]:.1f}",
        f"{spent['skmtl'] / spent[model]:.3f}",
    ]


def _below_linear(by: dict, names: list[str]) -> None:
    """Name the sets on which ours is below the linear model by more than one standard error."""
    for name in names:
        ours, theirs = by[name, "skmtl"], by[name, "linear"]
        gains = np.array([ours[key]["score"] - theirs[key]["score"] for key in ours if key in theirs])
        error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else 0.0
        if len(gains) and gains.mean() < -error:
            print(f"Below the linear model by more than a standard error: {name}, {gains.mean():+.4f} ± {error:.4f}.")


def main() -> None:
    """Measure what is not in the cache, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="three seeds by three folds, all sets and models")
    parser.add_argument("--choice", action="store_true", help="the sets on which defaults were chosen")
    parser.add_argument("--sets", type=lambda text: text.split(","), help="some sets")
    parser.add_argument("--models", type=lambda text: text.split(","), help="some models")
    parser.add_argument("--variant", action="append", default=[], help="NAME:parameter=value,... of ours, a model too")
    parser.add_argument("--cache", type=Path, help="file of results, read and appended to")
    parser.add_argument("--workers", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--table", action="store_true", help="print what the cache holds, and measure nothing")
    args = parser.parse_args()
    print(PROTOCOL)
    variants = {text.partition(":")[0]: _parameters(text.partition(":")[2]) for text in args.variant}
    models = [*(args.models or (MODELS if args.full else QUICK)), *variants]
    for model in [model for model in models if not is_installed(model) and not args.table]:
        print(f"{model} is not installed and left out.")
        models.remove(model)
    names = args.sets or (CHOICE if args.choice else REPORT if args.full else QUICK_SETS)
    if data_folder() is None:
        names = [name for name in names if name in SHIPPED]
        print(f"No data found (SKMTL_DATA, or shared/data beside the checkout): only {names}.")
    rows = [json.loads(line) for line in args.cache.open()] if args.cache and args.cache.exists() else []
    rows = [row for row in rows if row["set"] in names and row["model"] in models]
    rows += [] if args.table else _measured(rows, names, models, variants, args)
    report(rows, models)


def _measured(rows: list[dict], names: list[str], models: list[str], variants: dict, args) -> list[dict]:
    """Return the results that are missing; append them to the cache."""
    known = {(row["set"], row["seed"], row["fold"], row["model"]) for row in rows}
    n_seeds, wanted = (3, 3) if args.full else (1, 1)
    places = [(n, s, f, k) for n in names for k in [n_folds_of(n, wanted)] for s in range(n_seeds) for f in range(k)]
    jobs = [(*place, m) for m in models for place in places if (*place[:3], m) not in known]
    calls = (delayed(measure)(*job, variants.get(job[-1], {})) for job in jobs)
    found = []
    for row in Parallel(args.workers, return_as="generator_unordered", batch_size=1)(calls):
        found.append(row)
        if args.cache:
            with args.cache.open("a") as file:
                file.write(json.dumps(row) + "\n")
    return found


def _parameters(text: str) -> dict:
    pairs = (pair.partition("=") for pair in text.split(";") if pair)
    return {name: ast.literal_eval(value) for name, _, value in pairs}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
