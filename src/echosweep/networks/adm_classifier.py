"""ADM's noisy ImageNet classifier (Dhariwal & Nichol 2021, arXiv 2105.05233), up to its middle.

It learnt the 1000 classes of ImageNet at 64 px under noise, so its features mean something at every
noise level. It is our ADM encoder and a middle; the published file has other names and another
order of q, k, v. Invariant: a file is taken whole or not at all: every tensor, by name and shape.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from echosweep.errors import EchoSweepError
from echosweep.networks.adm_unet import ADM, AdmEmbedding
from echosweep.networks.blocks import Attention, Block
from echosweep.networks.unet import Encoder, LevelPlan

# What the layers of a block, and of its attention, are called in the file.
_BLOCK = {
    "norm0": "in_layers.0",
    "conv0": "in_layers.2",
    "affine": "emb_layers.1",
    "norm1": "out_layers.0",
    "conv1": "out_layers.3",
    "skip": "skip_connection",
}
_ATTENTION = {"norm": "norm", "qkv": "qkv", "proj": "proj_out"}
_CLASSES = "out."  # the attention pool and the 1000 classes, which are not read


class AdmClassifier(nn.Module):
    """The classifier's embedding, encoder and middle. The defaults are those of table 12 at 64 px.

    channels: of the features. levels: how many sizes, each half of the one before.
    """

    def __init__(
        self,
        model_channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 3, 4),
        num_blocks: int = 4,
        attention_factors: Sequence[int] = (2, 4, 8),
    ):
        super().__init__()
        widths = [model_channels * mult for mult in channel_mult]
        self.channels, self.levels = widths[-1], len(widths)
        self.embedding = AdmEmbedding(model_channels, 0, ADM)
        plan = LevelPlan.make(widths[0], widths, num_blocks, attention_factors)
        self.encoder = Encoder(3, self.embedding.channels, plan, ADM)
        self.middle = nn.ModuleList(
            Block(self.channels, self.channels, self.embedding.channels, ADM, attention=attention)
            for attention in (True, False)
        )

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        """Return the middle's output (N,channels,h,w) of x (N,3,H,W) at timesteps (N,), 0..999."""
        emb = self.embedding(timesteps, x.new_zeros(len(x), 0))
        x = self.encoder(x, emb)[-1]
        for block in self.middle:
            x = block(x, emb)
        return x

    def published_names(self) -> dict[str, str]:
        """Return what each tensor, by our name, is called in the published file."""
        places = {
            "embedding.linear0": "time_embed.0",
            "embedding.linear1": "time_embed.2",
            "encoder.stem": "input_blocks.0.0",
        }
        blocks = [name for name, module in self.named_modules() if isinstance(module, Block)]
        homes = [(f"input_blocks.{i}.0", f"input_blocks.{i}.1") for i in range(1, len(blocks) - 1)]
        homes += [("middle_block.0", "middle_block.1"), ("middle_block.2", "")]
        for name, (block, attention) in zip(blocks, homes, strict=True):
            places |= {f"{name}.{ours}": f"{block}.{theirs}" for ours, theirs in _BLOCK.items()}
            places |= {
                f"{name}.attention.{ours}": f"{attention}.{theirs}"
                for ours, theirs in _ATTENTION.items()
            }
        parts = [(name, *name.rsplit(".", 1)) for name in self.state_dict()]
        return {name: f"{places[layer]}.{leaf}" for name, layer, leaf in parts}

    def published_layout(self) -> dict[str, tuple[int, ...]]:
        """Return the shape that each tensor has in the published file, by its name there."""
        flat = (".attention.qkv.weight", ".attention.proj.weight")  # 1-D convolutions there
        names, own = self.published_names(), self.state_dict()
        return {
            names[name]: tuple(tensor.shape[:3] if name.endswith(flat) else tensor.shape)
            for name, tensor in own.items()
        }

    def load_published(self, tensors: Mapping[str, Tensor], source: object) -> None:
        """Take over the tensors of the published file; on the meta device, only check them.

        source: what the error calls the file. Raises EchoSweepError for those of another network.
        """
        for problem in _problems(tensors, self.published_layout()):
            raise EchoSweepError(
                f"{source}: {problem}; this is not ADM's ImageNet classifier at 64 px. Pass "
                "64x64_classifier.pt of openai/guided-diffusion"
            )
        names = self.published_names()
        with torch.no_grad():
            for name, tensor in self.state_dict().items():
                tensor.copy_(tensors[names[name]].reshape(tensor.shape))
            for module in self.modules():
                if isinstance(module, Attention):
                    for parameter in module.qkv.parameters():
                        parameter.copy_(_by_channel(parameter, module.heads))


def _by_channel(published: Tensor, heads: int) -> Tensor:
    """Return rows (head, q|k|v, channel) in the order of `Attention`: (head, channel, q|k|v)."""
    rows = published.reshape(heads, 3, -1, *published.shape[1:])
    return rows.transpose(1, 2).reshape(published.shape)


def _problems(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]
) -> Iterator[str]:
    read = {name: tensor for name, tensor in tensors.items() if not name.startswith(_CLASSES)}
    for name in sorted(wanted.keys() ^ read.keys()):
        yield f"it has {'a' if name in read else 'no'} tensor {name}"
    for name, shape in wanted.items():
        if tensors[name].shape != shape:
            yield f"{name} has shape {tuple(tensors[name].shape)}, not {shape}"
