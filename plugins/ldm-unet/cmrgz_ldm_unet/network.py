"""The network of `ldm-unet`: diffusers' U-Net, told conditions beside the noise level."""

from typing import Annotated, Literal, NamedTuple

from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn

from cmrgz.conditions import ConditionEmbedding
from cmrgz.diffusion.layers import Lines
from cmrgz.diffusion.model import LatentDiffusion
from cmrgz.diffusion.network import DenoisingNetwork, input_channels
from cmrgz.diffusion.options import Axes, DiffusionObjective, KnownShare, MinSnr, NoiseSchedule
from cmrgz.frames import FrameAttention
from cmrgz.latents import framewise
from cmrgz.model import Condition, Tokenizer
from cmrgz_ldm_unet import SPEC


class Size(NamedTuple):
    """Channels of each resolution, residual blocks at each, and the width of an attention head."""

    channels: tuple[int, ...]
    blocks: int
    head: int


# B has the first three of the four widths of the published unconditional model on latents of a quarter of the edge.
SIZES = {
    "tiny": Size((16, 32), 1, 16),
    "reference": Size((64, 128), 1, 32),
    "S": Size((128, 256, 384), 2, 32),
    "B": Size((224, 448, 672), 2, 32),
}


class UNet(DenoisingNetwork):
    """A U-Net that halves the grid between resolutions, with attention at all but the finest.

    In blocks there are layers along the frames on the way down, in the middle and at the end, and each frame is told
    its own conditions.
    """

    def __init__(self, channels: int, size: Size, axes: str = "yx") -> None:
        super().__init__()
        levels = len(size.channels)
        # An odd side would not fit its skip on the way up.
        self.multiple = 2 ** (levels - 1)
        self.condition = ConditionEmbedding(SPEC.conditions, 4 * size.channels[0])
        self.unet = UNet2DModel(
            in_channels=input_channels(channels, axes != "yx"),
            out_channels=channels,
            down_block_types=("DownBlock2D", *["AttnDownBlock2D"] * (levels - 1)),
            up_block_types=(*["AttnUpBlock2D"] * (levels - 1), "UpBlock2D"),
            block_out_channels=size.channels,
            layers_per_block=size.blocks,
            attention_head_dim=size.head,
            # It has to divide every width.
            norm_num_groups=min(16, size.channels[0]),
            # What is given as a class is added to the embedding of the level as it is: conditions have their own
            # layers.
            class_embed_type="identity",
        )
        nn.init.zeros_(self.unet.conv_out.weight)
        widths = () if axes == "yx" else (*size.channels, size.channels[-1], size.channels[0])
        self.along = nn.ModuleList([FrameAttention(width, width // size.head) for width in widths])
        if axes != "yx":  # what is left over is nothing at first
            nn.init.zeros_(self.unet.conv_out.bias)

    def forward(self, inputs: Tensor, time: Tensor, condition: Condition | None) -> Tensor:
        """Return the prediction; see `DenoisingNetwork`."""
        lines = Lines.of(inputs, condition)
        told = self.condition(condition, len(inputs), lines.shape)
        if not self.along:
            output: Tensor = self.unet(inputs, time, class_labels=told, return_dict=False)[0]
            return output
        unet = self.unet
        level = unet.time_embedding(unet.time_proj(time).to(unet.dtype))
        level = (level[:, None, None] + told).flatten(0, 2)
        return framewise(lambda frames: self._predict(frames, level, lines), inputs)

    def _predict(self, inputs: Tensor, level: Tensor, lines: Lines) -> Tensor:
        """Return the prediction (n, c, h, w) for frames, part by part as `UNet2DModel.forward`, with layers between.

        Args:
            inputs: (n, k, h, w).
            level: (n, d) embedding of level and conditions.
            lines: Where the frames lie.
        """
        # Written out, since the forward of diffusers has no place for layers between its parts.
        unet, along = self.unet, iter(self.along)
        x = unet.conv_in(inputs)
        skips = [x]
        for part in unet.down_blocks:
            x, made = part(hidden_states=x, temb=level)
            x = lines.attend_maps(next(along), x)
            # The last skip is what has seen the other frames, too.
            skips += [*made[:-1], x]
        x = lines.attend_maps(next(along), unet.mid_block(x, level))
        for part in unet.up_blocks:
            n = len(part.resnets)
            x = part(x, tuple(skips[-n:]), level)
            del skips[-n:]
        x = lines.attend_maps(next(along), x)
        prediction: Tensor = unet.conv_out(unet.conv_act(unet.conv_norm_out(x)))
        return prediction


def build(
    tokenizer: Tokenizer,
    size: Annotated[Literal["tiny", "reference", "S", "B"], "channels and blocks of the network"] = "reference",
    objective: DiffusionObjective = "v",
    schedule: NoiseSchedule = "cosine",
    min_snr: MinSnr = 5.0,
    known_share: KnownShare = 0.5,
    axes: Axes = "yx",
) -> LatentDiffusion:
    """Build the model on a tokenizer with standardised vectors."""
    network = UNet(tokenizer.channels, SIZES[size], axes)
    return LatentDiffusion(network, tokenizer, objective, schedule, 1.0, min_snr, known_share, axes)
