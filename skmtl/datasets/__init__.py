"""Small real data sets with clear licences, and generators of tasks with a known relation."""

from skmtl._families import publish
from skmtl.datasets._census import load_census
from skmtl.datasets._energy import load_energy
from skmtl.datasets._related import make_related_classification, make_related_regression

__all__ = ["load_census", "load_energy", "make_related_classification", "make_related_regression"]

publish(__name__)
