"""How far generated images are from real ones: features, statistics, a distance.

An extractor turns uint8 images into feature vectors; a metric compares
two sets of them, or of the images themselves, in the order (generated, reference).
Invariant: a number is called FID only if its features are the 2048 of Inception-2015-12-05.
"""

from collections.abc import Callable, Mapping

from echosweep.evaluation.classify import Classifier, augment, build_linear, build_resnet18
from echosweep.evaluation.dinov2 import build_dinov2
from echosweep.evaluation.echo import check_echo, measure_echo
from echosweep.evaluation.efficientnet import build_efficientnet
from echosweep.evaluation.features import Extractor, Options
from echosweep.evaluation.frechet import measure_frechet
from echosweep.evaluation.inception_file import build_inception
from echosweep.evaluation.kid import measure_kid
from echosweep.evaluation.noise import measure_noise
from echosweep.evaluation.prdc import check_prdc, measure_prdc
from echosweep.evaluation.random_features import build_random
from echosweep.evaluation.sets import Metric
from echosweep.registry import Registry

EXTRACTORS: Mapping[str, Callable[[Options], Extractor]] = Registry(
    "extractors",
    {
        "inception": build_inception,
        "dinov2": build_dinov2,
        "efficientnet-lite0": build_efficientnet,
        "random": build_random,
    },
)

METRICS: Mapping[str, Metric] = Registry(
    "metrics",
    {
        "frechet": Metric(measure_frechet, "features"),
        "kid": Metric(measure_kid, "features"),
        "noise": Metric(measure_noise, "pool"),
        "prdc": Metric(measure_prdc, "features", check_prdc),
        "echo": Metric(measure_echo, "images", check_echo),
    },
)

CLASSIFIERS: Mapping[str, Classifier] = Registry(
    "classifiers",
    {
        "linear": Classifier(build_linear),
        "resnet18": Classifier(build_resnet18),
        "resnet18-augmented": Classifier(build_resnet18, augment),
    },
)
