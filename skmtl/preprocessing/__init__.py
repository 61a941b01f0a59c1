"""Tables as people have them, made ready for a network: missing values, categories, dates, heavy tails.

`table_pipeline` puts a `TableEncoder` before an estimator; `stack_tasks` makes one table of several data sets,
`records` one of arrays of any shape.
"""

from skmtl._families import publish
from skmtl.preprocessing._encoder import TableEncoder as TableEncoder
from skmtl.preprocessing._pipeline import table_pipeline as table_pipeline
from skmtl.preprocessing._records import records as records
from skmtl.preprocessing._stack_tasks import StackedTasks as StackedTasks
from skmtl.preprocessing._stack_tasks import stack_tasks as stack_tasks

__all__ = ["StackedTasks", "TableEncoder", "records", "stack_tasks", "table_pipeline"]

publish(__name__)
