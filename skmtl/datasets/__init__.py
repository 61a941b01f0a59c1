"""Small real data with clear licences, and generators of tasks whose relation is known."""

from ._census import load_census
from ._energy import load_energy
from ._related import make_related_classification, make_related_regression

__all__ = ["load_census", "load_energy", "make_related_classification", "make_related_regression"]
