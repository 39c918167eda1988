"""ldm-uvit: latent diffusion with a transformer whose shallow and deep layers are joined by long skips."""

from cmrgz.plugin import ModelSpec

SPEC = ModelSpec(
    name="ldm-uvit",
    family="ldm",
    summary="latent diffusion, transformer with long skips, all inputs as tokens",
    build="cmrgz_ldm_uvit.network:build",
    cite="Bao et al. 2023, arXiv 2209.12152",
    tokenizer="kl",
    conditions=("phase", "slice", "row", "column"),
    tiny={"size": "tiny"},
)
