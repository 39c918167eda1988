"""ar-var: next-scale prediction over residual codes of a picture pyramid."""

from cmrgz.plugin import ModelSpec

SPEC = ModelSpec(
    name="ar-var",
    family="ar",
    summary="all cells of a scale at once, coarse to fine; known cells re-quantised against what is drawn",
    build="cmrgz_ar_var.model:build",
    cite="Tian et al. 2024, arXiv 2404.02905; Lee et al. 2022, arXiv 2203.01941 (residual codes of a cell)",
    tokenizer="vq-ms",
    conditions=("phase", "slice", "row", "column"),
    checkpoint="cmrgz_ar_var:weights/ar-var",
    tiny={"grid": (8, 8), "width": 32, "heads": 2, "inner": 32, "local": 16, "head_inner": 32, "layers": 2, "free": 4},
)
