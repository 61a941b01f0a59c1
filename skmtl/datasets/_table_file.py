"""Reads the data files of the package, and returns them as scikit-learn's loaders do: as a Bunch."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from importlib.resources import files
from inspect import cleandoc
from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import Bunch

if TYPE_CHECKING:
    import pandas as pd


def read_rows(file_name: str) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of the csv file `data/<file_name>`, which may be gzipped."""
    content = (files("skmtl.datasets") / "data" / file_name).read_bytes()
    text = (gzip.decompress(content) if file_name.endswith(".gz") else content).decode("utf-8")
    header, *rows = csv.reader(text.splitlines())
    return header, rows


def as_bunch(
    data: np.ndarray,
    target: np.ndarray,
    *,
    feature_names: Sequence[str],
    target_names: Sequence[str],
    nominal_features: Sequence[str] = (),
    as_frame: bool,
    description: str,
    **extra: np.ndarray,
) -> Bunch:
    """Return arrays, or DataFrames if `as_frame`, under the names that scikit-learn's loaders use."""
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


def _frame(
    data: np.ndarray,
    target: np.ndarray,
    feature_names: Sequence[str],
    target_names: Sequence[str],
    nominal_features: Sequence[str],
) -> pd.DataFrame:
    """Return features and targets in one DataFrame."""
    import pandas as pd  # slow to import, and needed for frames only

    features = pd.DataFrame(data, columns=feature_names).infer_objects()
    features = features.astype(dict.fromkeys(nominal_features, "category"))
    return features.join(pd.DataFrame(target, columns=target_names))
