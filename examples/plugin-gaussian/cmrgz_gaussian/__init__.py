"""gaussian: probabilistic principal components, whose posterior is known in closed form."""

from cmrgz.plugin import ModelSpec

SPEC = ModelSpec(
    name="gaussian",
    family="gaussian",
    summary="probabilistic principal components: exact posterior, no network",
    build="cmrgz_gaussian.model:build",
    cite="Tipping and Bishop 1999, Journal of the Royal Statistical Society B 61(3)",
    tiny={"item": (64, 64), "rank": 4},
)
