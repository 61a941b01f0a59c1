"""Read one of the package's data files into the Bunch that scikit-learn's loaders return."""

from __future__ import annotations

import csv
import gzip
from importlib.resources import files
from inspect import cleandoc

from sklearn.utils import Bunch


def read_rows(file_name: str) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of `data/<file_name>` (csv, may be gzipped)."""
    content = (files("skmtl.datasets") / "data" / file_name).read_bytes()
    text = (gzip.decompress(content) if file_name.endswith(".gz") else content).decode("utf-8")
    header, *rows = csv.reader(text.splitlines())
    return header, rows


def as_bunch(
    data, target, *, feature_names, target_names, nominal_features=(), as_frame, description, **extra
) -> Bunch:
    """Return arrays, or DataFrames where asked, under the names that scikit-learn's loaders use."""
    frame = None
    if as_frame:
        frame = _frame(data, target, feature_names, target_names, nominal_features)
        data, target = frame[list(feature_names)], frame[list(target_names)]
    return Bunch(
        data=data,
        target=target,
        frame=frame,
        feature_names=list(feature_names),
        nominal_features=list(nominal_features),
        target_names=list(target_names),
        DESCR=cleandoc(description),
        **extra,
    )


def _frame(data, target, feature_names, target_names, nominal_features):
    import pandas as pd  # only where a frame is asked for

    features = pd.DataFrame(data, columns=feature_names).infer_objects()
    features = features.astype(dict.fromkeys(nominal_features, "category"))
    return features.join(pd.DataFrame(target, columns=target_names))
