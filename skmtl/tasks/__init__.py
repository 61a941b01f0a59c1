"""What is predicted: labels become numbers and come back, and every task gets its raw columns.

===========================  ================================================================
`Task`, `Part`               the contract of a task: subclass it for your own
`TASKS`                      all tasks by name
`TaskLayout`, `LossGroup`    the places of tasks, their parts and raw columns, grouped by loss
`make_layout`                a layout from the losses of each task's parts
`ClassCodec`, `ScaleCodec`   labels to numbers and back
===========================  ================================================================
"""

from skmtl._families import class_names, members, publish
from skmtl.tasks._base import Part as Part
from skmtl.tasks._base import Task as Task
from skmtl.tasks._base import decoded as decoded
from skmtl.tasks._base import part_at_places as part_at_places
from skmtl.tasks._base import refuse_unknown_inputs as refuse_unknown_inputs
from skmtl.tasks._censored import Censored as Censored
from skmtl.tasks._chain import Chain as Chain
from skmtl.tasks._class_weights import class_weights as class_weights
from skmtl.tasks._classification import Classification as Classification
from skmtl.tasks._codec import ClassCodec as ClassCodec
from skmtl.tasks._codec import sorted_classes as sorted_classes
from skmtl.tasks._count import Count as Count
from skmtl.tasks._gaussian import Gaussian as Gaussian
from skmtl.tasks._hierarchy import Hierarchy as Hierarchy
from skmtl.tasks._layout import ROW as ROW
from skmtl.tasks._layout import Decoding as Decoding
from skmtl.tasks._layout import LossGroup as LossGroup
from skmtl.tasks._layout import SiteLayout as SiteLayout
from skmtl.tasks._layout import TaskLayout as TaskLayout
from skmtl.tasks._layout import average_members as average_members
from skmtl.tasks._layout import classification_layout as classification_layout
from skmtl.tasks._layout import make_layout as make_layout
from skmtl.tasks._layout import make_site_layout as make_site_layout
from skmtl.tasks._layout import regression_layout as regression_layout
from skmtl.tasks._mask import Mask as Mask
from skmtl.tasks._multilabel import Multilabel as Multilabel
from skmtl.tasks._ordinal import OrderedCodec as OrderedCodec
from skmtl.tasks._ordinal import Ordinal as Ordinal
from skmtl.tasks._quantile import Quantile as Quantile
from skmtl.tasks._regression import Regression as Regression
from skmtl.tasks._scale import ScaleCodec as ScaleCodec
from skmtl.tasks._sequence import Sequence as Sequence
from skmtl.tasks._survival import Survival as Survival
from skmtl.tasks._token_labels import TokenLabels as TokenLabels
from skmtl.tasks._transform import LabelTransform as LabelTransform

publish(__name__)
TASKS: dict[str, type[Task]] = members(Task, __name__)

__all__ = ["TASKS", "Part", "Task", *class_names(TASKS.values())]
