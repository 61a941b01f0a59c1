"""Cross-validation for several tasks with missing labels, and the test of whether sharing helped."""

from skmtl.model_selection._predict import cross_val_predict
from skmtl.model_selection._splitter import MultiTaskKFold
from skmtl.model_selection._transfer import transfer_gain

__all__ = ["MultiTaskKFold", "cross_val_predict", "transfer_gain"]
