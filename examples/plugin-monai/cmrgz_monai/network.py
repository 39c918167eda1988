"""A foreign network in a plugin: what it takes to put MONAI's U-Net behind every solver and inpainting algorithm."""

from typing import Annotated

from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from torch import Tensor, nn

from cmrgz.conditions import ConditionEmbedding
from cmrgz.diffusion.model import LatentDiffusion
from cmrgz.diffusion.network import DenoisingNetwork, input_channels
from cmrgz.diffusion.options import DiffusionObjective, KnownShare
from cmrgz.errors import UsageError
from cmrgz.model import Condition, Tokenizer
from cmrgz_monai import SPEC


class MonaiUNet(DenoisingNetwork):
    """MONAI's U-Net; conditions are added to what enters it, which spares it cross-attention."""

    def __init__(self, latents: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.multiple = 2 ** (len(channels) - 1)
        self.condition = ConditionEmbedding(SPEC.conditions, channels[0])
        self.enter = nn.Conv2d(input_channels(latents), channels[0], 3, padding=1)
        self.unet = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=channels[0],
            out_channels=latents,
            channels=channels,
            attention_levels=(False, *[True] * (len(channels) - 1)),
            num_res_blocks=1,
            num_head_channels=16,
            norm_num_groups=8,
        )

    def forward(self, inputs: Tensor, time: Tensor, condition: Condition | None) -> Tensor:
        """Return the prediction; see `DenoisingNetwork`."""
        told = self.condition(condition, len(inputs))[..., None, None]
        return self.unet(self.enter(inputs) + told, time)


def build(
    tokenizer: Tokenizer,
    channels: Annotated[tuple[int, ...], "channels of each resolution, multiples of 16"] = (64, 128),
    objective: DiffusionObjective = "v",
    known_share: KnownShare = 0.5,
) -> LatentDiffusion:
    """Build the model on a tokenizer with standardised vectors.

    Raises:
        UsageError: `range`: channels that MONAI cannot divide into heads.
    """
    if not channels or any(c < 16 or c % 16 for c in channels):
        raise UsageError("range", "channels", "must be multiples of 16", f"got {channels}")
    return LatentDiffusion(MonaiUNet(tokenizer.channels, channels), tokenizer, objective, known_share=known_share)
