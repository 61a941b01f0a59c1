"""Census income: both tasks at once through a ColumnTransformer pipeline, against models per task."""

from __future__ import annotations

import time
import warnings

import numpy as np
from _bench import ONE_NETWORK
from _data import begin, load, print_table
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, OneHotEncoder, StandardScaler

from skmtl import MultiTaskClassifier

BASELINES = {
    "data folder: logistic regression per task": (0.9440, 0.9941),
    "data folder: random forest per task": (0.9413, 0.9932),
}
NETWORK = {"hidden_layer_sizes": (128,), "batch_size": 512, "optimizer": "adam", "lr": 1e-3, **ONE_NETWORK}
SHARING = {"hard": {}, "soft": {"sharing_lambda": 1e-3}, "attention": {}, "independent": {}}
QUICK = [(6, 0.3, 0.0), (14, 0.5, 1e-4)]
FULL = [(e, d, w) for e in (6, 10, 14) for d in (0.3, 0.5) for w in (0.0, 1e-4)]
PROTOCOL = """Protocol: the split in the file (60/10/30, random). Each arm chooses one of {grid}
by the mean AUC of the validation rows, and is then refitted on training and validation rows; AUC on the test rows.
Features: nominal ones one-hot; numbers as log(1 + x), standardised, and in 10 quantile bins, one-hot.
Network: {network}.
"""


def prepare(meta):
    """Return the preprocessing of a table with nominal and numeric columns."""
    nominal = [k for k, name in enumerate(meta["feature_names"]) if name in meta["nominal_features"]]
    numeric = [k for k in range(len(meta["feature_names"])) if k not in nominal]
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    log = make_pipeline(FunctionTransformer(np.log1p), StandardScaler())
    bins = KBinsDiscretizer(10, encode="onehot-dense", quantile_method="averaged_inverted_cdf", dtype=np.float32)
    return ColumnTransformer(
        [("nominal", one_hot, nominal), ("numeric", FeatureUnion([("log", log), ("bins", bins)]), numeric)]
    )


def to_float32():
    """Return a step that keeps the table in single precision."""
    return FunctionTransformer(np.float32)


def aucs(model, X, y):
    """Return the AUC of each task."""
    return [roc_auc_score(y[:, t], p[:, 1]) for t, p in enumerate(model.predict_proba(X))]


def network(meta, sharing, epochs, dropout, weight_decay):
    """Return the whole pipeline."""
    regular = {"max_epochs": epochs, "dropout": dropout, "weight_decay": weight_decay}
    classifier = MultiTaskClassifier(sharing=sharing, **regular, **SHARING[sharing], **NETWORK, random_state=0)
    return make_pipeline(prepare(meta), to_float32(), classifier)


def tuned(meta, sharing, candidates, X, y, split):
    """Return test AUCs after the choice on the validation rows, and the choice."""
    valid = {}
    for c in candidates:
        model = network(meta, sharing, *c).fit(X[split == 0], y[split == 0])
        valid[c] = np.mean(aucs(model, X[split == 1], y[split == 1]))
    best = max(valid, key=valid.get)
    model = network(meta, sharing, *best).fit(X[split < 2], y[split < 2])
    return aucs(model, X[split == 2], y[split == 2]), best


def logistic(meta, X, y, split):
    """Return test AUCs of a logistic regression per task on the same features."""
    each = MultiOutputClassifier(LogisticRegression(C=0.1, max_iter=200))
    model = make_pipeline(prepare(meta), to_float32(), each).fit(X[split < 2], y[split < 2])
    return aucs(model, X[split == 2], y[split == 2])


def main():
    """Measure and print."""
    full = begin("Census income: income and marriage through a ColumnTransformer pipeline")
    candidates = FULL if full else QUICK
    print(PROTOCOL.format(grid="(epochs, dropout, weight decay) = " + ", ".join(map(str, candidates)), network=NETWORK))
    X, y, meta = load("census")
    y, split = y.astype(int), meta["split"]
    rows = [[name, *scores, "", ""] for name, scores in BASELINES.items()]
    if full:
        rows.append(["logistic regression, features as here", *np.round(logistic(meta, X, y, split), 4), "", ""])
    for sharing in SHARING if full else ["hard", "independent"]:
        start = time.perf_counter()
        scores, best = tuned(meta, sharing, candidates, X, y, split)
        rows.append([f"skmtl {sharing}", *np.round(scores, 4), best, f"{time.perf_counter() - start:.0f}"])
        print(*rows[-1], flush=True)
    print()
    print_table(["arm", *(f"AUC {name}" for name in meta["task_names"]), "epochs, dropout, decay", "seconds"], rows)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message="Bins whose width are too small")
    main()
