"""The shipped tables are the published ones: counts, ranges and identities that can be checked by hand."""

import csv
import io
import re
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from skmtl.datasets import load_census, load_energy

LOADERS = [load_energy, load_census]


@pytest.fixture(scope="module")
def energy():
    return load_energy(as_frame=True).frame


@pytest.fixture(scope="module")
def census():
    return load_census(as_frame=True)


@pytest.mark.parametrize("load", LOADERS)
def test_arrays_and_frames_hold_the_same(load):
    arrays, frames = load(), load(as_frame=True)
    assert arrays.frame is None
    assert list(frames.data.columns) == arrays.feature_names
    assert list(frames.target.columns) == arrays.target_names
    np.testing.assert_array_equal(frames.data.to_numpy(dtype=object), arrays.data.astype(object))
    np.testing.assert_array_equal(frames.target.to_numpy(), arrays.target)
    pd.testing.assert_frame_equal(frames.frame, pd.concat([frames.data, frames.target], axis=1))


@pytest.mark.parametrize("load", LOADERS)
def test_return_X_y_is_data_and_target(load):
    X, y = load(return_X_y=True)
    bunch = load()
    np.testing.assert_array_equal(X, bunch.data)
    np.testing.assert_array_equal(y, bunch.target)


@pytest.mark.parametrize("load", LOADERS)
def test_two_calls_share_no_memory(load):
    first = load()
    first.data[:] = 0
    first.target[:] = 0
    assert load().target.any()


@pytest.mark.parametrize("load", LOADERS)
def test_description_states_source_and_licence(load):
    description = load().DESCR
    assert "CC BY 4.0" in description
    assert "https://doi.org/10.24432/" in description
    assert "Changes made" in description


@pytest.mark.parametrize("load", LOADERS)
def test_attribution_travels_with_the_package(load):
    doi = re.search(r"https://doi\.org/10\.24432/\w+", load().DESCR).group()
    assert doi in (files("skmtl.datasets") / "data" / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert doi in load.__doc__


def test_energy_has_the_published_shape(energy):
    assert energy.shape == (768, 10)
    assert not energy.isna().any().any()
    assert energy["heating_load"].nunique() == 586  # Tsanas and Xifara 2012, table 1: possible values
    assert energy["cooling_load"].nunique() == 636
    assert [energy[c].nunique() for c in energy.columns[:8]] == [12, 12, 7, 4, 2, 4, 4, 6]


def test_energy_ranges_and_means(energy):
    loads = energy[["heating_load", "cooling_load"]]
    assert loads.min().tolist() == [6.01, 10.9]
    assert loads.max().tolist() == [43.1, 48.03]
    np.testing.assert_allclose(loads.mean(), [22.3072, 24.5878], atol=1e-4)


def test_energy_columns_obey_geometry(energy):
    np.testing.assert_allclose(energy["surface_area"], energy["wall_area"] + 2 * energy["roof_area"])
    compactness = 6 * 771.75 ** (2 / 3) / energy["surface_area"]
    np.testing.assert_allclose(energy["relative_compactness"], compactness, atol=0.006)
    assert set(energy["orientation"]) == {2, 3, 4, 5}


def test_energy_is_the_full_plan_of_shapes_orientations_and_glazings(energy):
    plan = energy.groupby(["surface_area", "orientation", "glazing_area", "glazing_area_distribution"]).size()
    assert (plan == 1).all()
    assert ((energy["glazing_area"] == 0) == (energy["glazing_area_distribution"] == 0)).all()


def test_census_keeps_the_shares_of_the_labels(census):
    assert census.data.shape == (8000, 39)
    assert census.target.sum().tolist() == [496, 3460]  # 6.2008 % and 43.2459 % of the 99,762 rows, times 8,000


def test_census_columns_are_numbers_or_categories(census):
    assert len(census.nominal_features) == 32
    assert (census.data[census.nominal_features].dtypes == "category").all()
    numeric = census.data.drop(columns=census.nominal_features)
    assert (numeric.dtypes == "float64").all()
    assert numeric["age"].between(0, 90).all()
    assert numeric["weeks_worked"].between(0, 52).all()
    assert not census.data.isna().any().any()


def test_census_columns_mean_what_their_names_say(census):
    data, target = census.data, census.target
    assert set(data["sex"]) == {"Female", "Male"}
    assert set(data["year"]) == {"94", "95"}
    assert (data.loc[data["age"] < 15, "education"] == "Children").all()
    assert (target.loc[data["age"] < 15, "never_married"] == 1).all()
    assert (target.loc[data["det_hh_fam_stat"].astype(str).str.contains("never marr"), "never_married"] == 1).all()


def test_census_weights_are_survey_weights(census):
    assert census.sample_weight.shape == (8000,)
    assert 40 < census.sample_weight.min() < census.sample_weight.mean() < census.sample_weight.max() < 20_000


def test_data_files_are_plain_and_small():
    folder = files("skmtl.datasets") / "data"
    rows = list(csv.reader(io.StringIO((folder / "energy.csv").read_text(encoding="utf-8"))))
    assert {len(row) for row in rows} == {10}
    assert len((folder / "census.csv.gz").read_bytes()) < 300_000
