"""ar-mar: masked autoregression over latents, with a diffusion head."""

from cmrgz.plugin import ModelSpec

SPEC = ModelSpec(
    name="ar-mar",
    family="ar",
    summary="masked autoregression over latents, diffusion head, known positions first",
    build="cmrgz_ar_mar.network:build",
    cite="Li et al. 2024, arXiv 2406.11838; Besnier et al. 2025, arXiv 2503.17076 (order)",
    tokenizer="kl",
    conditions=("phase", "slice", "row", "column"),
    checkpoint="cmrgz_ar_mar:weights/ar-mar",
    tiny={"size": "tiny"},
)
