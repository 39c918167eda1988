"""The network of `ldm-unet`: diffusers' U-Net, told conditions beside the noise level."""

from typing import Annotated, Literal, NamedTuple

from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn

from cmrgz.conditions import ConditionEmbedding
from cmrgz.diffusion.model import LatentDiffusion
from cmrgz.diffusion.network import DenoisingNetwork, input_channels
from cmrgz.diffusion.options import DiffusionObjective, KnownShare, MinSnr, NoiseSchedule
from cmrgz.model import Condition, Tokenizer
from cmrgz_ldm_unet import SPEC


class Size(NamedTuple):
    """Channels of each resolution, residual blocks at each, and the width of an attention head."""

    channels: tuple[int, ...]
    blocks: int
    head: int


SIZES = {
    "tiny": Size((16, 32), 1, 16),
    "reference": Size((64, 128), 1, 32),
    "S": Size((128, 256, 384), 2, 32),
    "B": Size((224, 448, 672), 2, 32),
}


class UNet(DenoisingNetwork):
    """A U-Net that halves the grid between resolutions, with attention at all but the finest."""

    def __init__(self, channels: int, size: Size) -> None:
        super().__init__()
        levels = len(size.channels)
        self.multiple = 2 ** (levels - 1)
        self.condition = ConditionEmbedding(SPEC.conditions, 4 * size.channels[0])
        self.unet = UNet2DModel(
            in_channels=input_channels(channels),
            out_channels=channels,
            down_block_types=("DownBlock2D", *["AttnDownBlock2D"] * (levels - 1)),
            up_block_types=(*["AttnUpBlock2D"] * (levels - 1), "UpBlock2D"),
            block_out_channels=size.channels,
            layers_per_block=size.blocks,
            attention_head_dim=size.head,
            norm_num_groups=min(16, size.channels[0]),
            class_embed_type="identity",
        )
        nn.init.zeros_(self.unet.conv_out.weight)

    def forward(self, inputs: Tensor, time: Tensor, condition: Condition | None) -> Tensor:
        """Return the prediction; see `DenoisingNetwork`."""
        told = self.condition(condition, len(inputs))
        return self.unet(inputs, time, class_labels=told, return_dict=False)[0]


def build(
    tokenizer: Tokenizer,
    size: Annotated[Literal["tiny", "reference", "S", "B"], "channels and blocks of the network"] = "reference",
    objective: DiffusionObjective = "v",
    schedule: NoiseSchedule = "cosine",
    min_snr: MinSnr = 5.0,
    known_share: KnownShare = 0.5,
) -> LatentDiffusion:
    """Build the model on a tokenizer with standardised vectors."""
    network = UNet(tokenizer.channels, SIZES[size])
    return LatentDiffusion(network, tokenizer, objective, schedule, min_snr=min_snr, known_share=known_share)
