"""ar-vq: a causal transformer over residual codes, in any order, with a static cache."""

from cmrgz.plugin import ModelSpec

SPEC = ModelSpec(
    name="ar-vq",
    family="ar",
    summary="causal transformer over residual codes, any order, known positions first",
    build="cmrgz_ar_vq.network:build",
    cite="Pannatier et al. 2024, arXiv 2404.09562; Li et al. 2025, arXiv 2503.10568; Lee et al. 2022, arXiv 2203.01941",
    tokenizer="vq",
    axes=("t", "z", "y", "x"),
    item=(3, 3, 128, 128),
    conditions=("phase", "slice", "row", "column"),
    checkpoint="cmrgz_ar_vq:weights/ar-vq",
    tiny={"grid": (8, 8), "width": 32, "heads": 2, "inner": 32, "content_layers": 1, "target_layers": 1, "free": 4},
)
