"""Multi-task learning for scikit-learn users.

===================  =========================================================================
`classifier`         `MultiTaskClassifier`
`regressor`          `MultiTaskRegressor`
`mixed`              `MultiTaskEstimator`, for tasks of several kinds
`task_view`          `TaskView`: one task as a classifier or a regressor
`preprocessing`      tables as people have them, for a network: `table_pipeline`, `records`
`tasks`              what can be predicted: classes, numbers, counts, survival and so on
`losses`             pointwise losses and their gradients
`encoders`           images, texts and ids as inputs
`sharing`            how parameters are shared: strategies by name and their contract
`weighting`          how task losses become one update
`training`           the training loop: skorch's frame around a step of our own
`model_selection`    splitters, cross-validated prediction, did sharing help
`calibration`        honest probabilities, intervals and sets per task
`metrics`            scorers per task that skip missing labels
`datasets`           small real data and generators with known task relations
===================  =========================================================================
"""

from skmtl.classifier import MultiTaskClassifier
from skmtl.mixed import MultiTaskEstimator
from skmtl.preprocessing import records, stack_tasks, table_pipeline
from skmtl.regressor import MultiTaskRegressor
from skmtl.task_view import TaskView

__all__ = [
    "MultiTaskClassifier",
    "MultiTaskEstimator",
    "MultiTaskRegressor",
    "TaskView",
    "records",
    "stack_tasks",
    "table_pipeline",
]
__version__ = "0.1.0.dev0"
