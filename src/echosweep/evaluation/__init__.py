"""How far generated images are from real ones: features, statistics, a distance.

An extractor turns uint8 images into feature vectors; `fid.py` compares the Gaussians fitted to
two sets of them; `evaluate.py` does both for two frame stores, in the order (generated, reference).
Invariant: a number is called FID only if its features are the 2048 of Inception-2015-12-05.
"""

from collections.abc import Callable

from echosweep.evaluation.efficientnet import build_efficientnet
from echosweep.evaluation.features import Extractor, Options
from echosweep.evaluation.inception_file import build_inception
from echosweep.evaluation.random_features import build_random

EXTRACTORS: dict[str, Callable[[Options], Extractor]] = {
    "inception": build_inception,
    "efficientnet-lite0": build_efficientnet,
    "random": build_random,
}
