"""ar-maskgit: a bidirectional transformer over residual codes, many positions a step."""

from cmrgz.plugin import ModelSpec

SPEC = ModelSpec(
    name="ar-maskgit",
    family="ar",
    summary="bidirectional transformer over residual codes, many hidden positions a step",
    build="cmrgz_ar_maskgit.network:build",
    cite="Chang et al. 2022, arXiv 2202.04200; Besnier et al. 2025, arXiv 2503.17076",
    tokenizer="vq",
    conditions=("phase", "slice", "row", "column"),
    checkpoint="cmrgz_ar_maskgit:weights/ar-maskgit",
    tiny={"grid": (8, 8), "width": 32, "heads": 2, "inner": 32, "layers": 1, "local": 16, "free": 4},
)
