"""The shared first stages of cmrgz: families are compared on equal grids."""

from cmrgz.plugin import TokenizerSpec

VQ = TokenizerSpec(
    name="vq",
    summary="residual k-means codes of 8x8 patches, frozen; contextual decoder",
    build="cmrgz_tokenizers.vq:build",
    cite="Lee et al. 2022, arXiv 2203.01941 (residual codes); Liu et al. 2022, arXiv 2205.05076 (patch-local encoder)",
    checkpoint="cmrgz_tokenizers:weights/vq",
    tiny={"vocab": 32, "levels": 2, "width": 16, "fine_width": 8, "blocks": 1, "lloyd": 3},
)
FSQ = TokenizerSpec(
    name="fsq",
    summary="product FSQ codes of 8x8 patches, trained end to end",
    build="cmrgz_tokenizers.fsq:build",
    cite="Mentzer et al. 2023, arXiv 2309.15505",
    tiny={"groups": 2, "hidden": 16, "width": 16, "fine_width": 8, "blocks": 1},
)
KL = TokenizerSpec(
    name="kl",
    summary="16 standardised channels of 8x8 patches, from their principal components; contextual decoder",
    build="cmrgz_tokenizers.kl:build",
    cite="Kingma and Welling 2014, arXiv 1312.6114; Rombach et al. 2022, arXiv 2112.10752",
    checkpoint="cmrgz_tokenizers:weights/kl",
    tiny={"channels": 4, "hidden": 16, "width": 16, "fine_width": 8, "blocks": 1},
)
VQ_MS = TokenizerSpec(
    name="vq-ms",
    summary="residual k-means codes of a picture pyramid, coarse to fine, frozen; contextual decoder",
    build="cmrgz_tokenizers.vq_ms:build",
    cite="Tian et al. 2024, arXiv 2404.02905 (residual codes over scales); Liu et al. 2022, arXiv 2205.05076",
    checkpoint="cmrgz_tokenizers:weights/vq-ms",
    tiny={
        "strides": (8, 2, 1),
        "levels": (1, 2, 2),
        "vocab": (8, 16, 32),
        "width": 16,
        "fine_width": 8,
        "blocks": 1,
        "lloyd": 3,
    },
)
