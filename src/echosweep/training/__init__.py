"""From images to weights: the loop, its average of weights, its checkpoints."""
