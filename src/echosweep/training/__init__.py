"""From images to weights: the loop, its average of weights, its checkpoints; discriminators.

To add what a discriminator's training lowers, write the function in `objectives.py` and name it
here. Invariant: whatever is lowered, no gradient reaches the model that is guided.
"""

from collections.abc import Mapping

from echosweep.registry import Registry
from echosweep.training.objectives import Objective, cross_entropy, reconstruction

__all__ = ["OBJECTIVES", "Objective"]

OBJECTIVES: Mapping[str, Objective] = Registry(
    "objectives",
    {
        "cross-entropy": Objective(cross_entropy, gradient_only=False),
        "reconstruction": Objective(reconstruction, gradient_only=True),
    },
)
