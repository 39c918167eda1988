"""ldm-dit and flow-dit: one transformer for latents, trained by diffusion or by flow matching."""

from cmrgz.plugin import ModelSpec

CONDITIONS = ("phase", "slice", "row", "column")

LDM = ModelSpec(
    name="ldm-dit",
    family="ldm",
    summary="latent diffusion, transformer with adaptive layer norm",
    build="cmrgz_ldm_dit.network:build_diffusion",
    cite="Peebles and Xie 2023, arXiv 2212.09748; Chen et al. 2024, arXiv 2310.00426 (shared modulation)",
    tokenizer="kl",
    conditions=CONDITIONS,
    checkpoint="cmrgz_ldm_dit:weights/ldm-dit",
    tiny={"size": "tiny"},
)
FLOW = ModelSpec(
    name="flow-dit",
    family="flow",
    summary="latent flow matching, transformer with adaptive layer norm",
    build="cmrgz_ldm_dit.network:build_flow",
    cite="Ma et al. 2024, arXiv 2401.08740; Lipman et al. 2023, arXiv 2210.02747",
    tokenizer="kl",
    conditions=CONDITIONS,
    checkpoint="cmrgz_ldm_dit:weights/flow-dit",
    tiny={"size": "tiny"},
)
