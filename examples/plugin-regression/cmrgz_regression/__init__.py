"""regression: a U-Net that predicts hidden pixels, one answer for each question."""

from cmrgz.plugin import ModelSpec

SPEC = ModelSpec(
    name="regression",
    family="regression",
    summary="U-Net trained by L1 on hidden pixels: one answer, no sampler",
    build="cmrgz_regression.model:build",
    cite="Ronneberger et al. 2015, arXiv 1505.04597",
    tiny={"width": 4, "depth": 2},
)
