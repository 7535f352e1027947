"""From passages to vectors: generate, translate, encode, sum and augment."""

from typing import TYPE_CHECKING

from xqg_repro.core.lazy import export

if TYPE_CHECKING:
    from xqg_repro.representation.augment import augment as augment, augment_streaming as augment_streaming
    from xqg_repro.representation.encode import encode as encode
    from xqg_repro.representation.generate import generate as generate
    from xqg_repro.representation.settings import Aggregate as Aggregate, Augmentation as Augmentation
    from xqg_repro.representation.sums import sum_queries as sum_queries
    from xqg_repro.representation.translate import translate as translate

export(
    __name__,
    settings=["Aggregate", "Augmentation"],
    generate=["generate"],
    translate=["translate"],
    encode=["encode"],
    sums=["sum_queries"],
    augment=["augment", "augment_streaming"],
)
