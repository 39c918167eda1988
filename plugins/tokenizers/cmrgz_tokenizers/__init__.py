"""The shared first stages of cmrgz: families are compared on equal grids."""

from cmrgz.plugin import TokenizerSpec

VQ = TokenizerSpec(
    name="vq",
    summary="residual k-means codes of 8x8 patches, frozen; contextual decoder",
    build="cmrgz_tokenizers.vq:build",
    cite="Lee et al. 2022, arXiv 2203.01941 (residual codes); Liu et al. 2022, arXiv 2205.05076 (patch-local encoder)",
    checkpoint="cmrgz_tokenizers:weights/vq",
)
FSQ = TokenizerSpec(
    name="fsq",
    summary="product FSQ codes of 8x8 patches, trained end to end",
    build="cmrgz_tokenizers.fsq:build",
    cite="Mentzer et al. 2023, arXiv 2309.15505",
)
