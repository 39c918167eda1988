"""ldm-monai: the diffusion U-Net of MONAI behind the kit for denoisers."""

from cmrgz.plugin import ModelSpec

SPEC = ModelSpec(
    name="ldm-monai",
    family="ldm",
    summary="latent diffusion, U-Net of MONAI",
    build="cmrgz_monai.network:build",
    cite="Cardoso et al. 2022, arXiv 2211.02701; Pinaya et al. 2023, arXiv 2307.15208",
    tokenizer="kl",
    conditions=("phase", "slice"),
    tiny={"channels": (16, 32)},
)
