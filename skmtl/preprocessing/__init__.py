"""Tables as people have them, made ready for a network: missing values, categories, dates, heavy tails.

`table_pipeline` puts a `TableEncoder` before an estimator.
"""

from skmtl._families import publish
from skmtl.preprocessing._encoder import TableEncoder as TableEncoder
from skmtl.preprocessing._pipeline import table_pipeline as table_pipeline

__all__ = ["TableEncoder", "table_pipeline"]

publish(__name__)
