"""The exponential moving average (EMA) of weights that sampling uses.

The half-life counts images, not steps, so that it means the same at any batch size
(Karras et al. 2022, appendix F.2). Invariant: after the first step with ramp-up the average still
equals the weights nearly, because the half-life is then a share of almost nothing.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


def ema_beta(nimg: int, batch: int, halflife_kimg: float, rampup: float) -> float:
    """Return beta = 0.5^(batch / halflife), halflife at most `rampup` * `nimg` images.

    nimg: images seen before this step. rampup 0 means no ramp-up.
    """
    halflife = halflife_kimg * 1000
    if rampup > 0:
        halflife = min(halflife, nimg * rampup)
    return float(0.5 ** (batch / max(halflife, 1e-8)))


def update_ema(average: Sequence[Tensor], weights: Sequence[Tensor], beta: float) -> None:
    """Set average <- beta average + (1 - beta) weights, in place."""
    blend = get_ema_multi_avg_fn(beta)  # type: ignore[no-untyped-call]
    blend(list(average), list(weights), 1)
