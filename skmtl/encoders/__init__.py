"""What turns images, texts, ids and rows of any other shape into features: `encoder=` of the estimators.

===================  ================================================================
`Encoder`            the contract of an encoder: subclass it for your own
`ConvEncoder`        images
`TokenEncoder`       texts as token ids
`Embeddings`         users, items and other ids
`TorchEncoder`       any torch module
`KerasEncoder`       any Keras model
`ENCODERS`           all encoders by name
`EncodedInput`       the fields of X, and the encoder of each
===================  ================================================================
"""

from skmtl._families import class_names, members, publish
from skmtl.encoders._base import IS_TOKEN as IS_TOKEN
from skmtl.encoders._base import Encoder as Encoder
from skmtl.encoders._conv import ConvEncoder as ConvEncoder
from skmtl.encoders._embeddings import Embeddings as Embeddings
from skmtl.encoders._embeddings import columns_of as columns_of
from skmtl.encoders._input import EncodedInput as EncodedInput
from skmtl.encoders._input import Field as Field
from skmtl.encoders._input import Places as Places
from skmtl.encoders._input import check_encoders as check_encoders
from skmtl.encoders._input import features_by_site as features_by_site
from skmtl.encoders._keras import KerasEncoder as KerasEncoder
from skmtl.encoders._tokens import TokenEncoder as TokenEncoder
from skmtl.encoders._torch import TorchEncoder as TorchEncoder

publish(__name__)
ENCODERS: dict[str, type[Encoder]] = members(Encoder, __name__)

__all__ = ["ENCODERS", "Encoder", *class_names(ENCODERS.values())]
