"""ldm-unet: latent diffusion with the convolutional U-Net of diffusers."""

from cmrgz.plugin import ModelSpec

SPEC = ModelSpec(
    name="ldm-unet",
    family="ldm",
    summary="latent diffusion, convolutional U-Net with attention",
    build="cmrgz_ldm_unet.network:build",
    cite="Rombach et al. 2022, arXiv 2112.10752; Ho et al. 2020, arXiv 2006.11239",
    tokenizer="kl",
    axes=("t", "z", "y", "x"),
    item=(5, 3, 128, 128),
    conditions=("phase", "slice", "row", "column"),
    checkpoint="cmrgz_ldm_unet:weights/ldm-unet",
    tiny={"size": "tiny"},
)
