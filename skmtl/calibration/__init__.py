"""Probabilities, intervals and sets that hold on rows like those they were calibrated on, task by task.

======================  ==========================================================
`TemperatureScaling`    class probabilities, by one number per task
`ConformalRegressor`    intervals of a given coverage around predicted numbers
`ConformalClassifier`   sets of classes of a given coverage
======================  ==========================================================
"""

from skmtl._families import publish
from skmtl.calibration._conformal import ConformalClassifier, ConformalRegressor
from skmtl.calibration._temperature import TemperatureScaling

__all__ = ["ConformalClassifier", "ConformalRegressor", "TemperatureScaling"]

publish(__name__)
