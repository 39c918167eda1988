"""The vision transformer of DINOv2 up to its class token: Oquab et al. 2023, arXiv:2304.07193.

Names of tensors as in the safetensors files of its publishers (`embeddings.cls_token`, `encoder.layer.0.norm1.weight`);
small, base and large alike, told from the file.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PATCH = 14
SIDE = 224
HEAD = 64
GRID = 37  # patches each way of the images it was trained on, for which positions are stored
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HEADS = ("embeddings.mask_token",)
EPSILON = 1e-6


class Attention(nn.Module):
    """Self-attention, its tensors named as the files name them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")})
        self.output = nn.ModuleDict({"dense": nn.Linear(width, width)})

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, n, width) of tokens (b, n, width)."""
        q, k, v = (
            self.attention[name](x).unflatten(2, (-1, HEAD)).transpose(1, 2) for name in ("query", "key", "value")
        )
        y = F.scaled_dot_product_attention(q, k, v)
        return self.output["dense"](y.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """A transformer layer, normalised before each part and scaled after."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attention = Attention(width)
        self.layer_scale1 = nn.ParameterDict({"lambda1": torch.ones(width)})
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})
        self.layer_scale2 = nn.ParameterDict({"lambda1": torch.ones(width)})

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (b, n, width)."""
        x = x + self.layer_scale1["lambda1"] * self.attention(self.norm1(x))
        return x + self.layer_scale2["lambda1"] * self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Embeddings(nn.Module):
    """From images to tokens with positions, the class token first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, GRID**2 + 1, width))
        self.patch_embeddings = nn.ModuleDict({"projection": nn.Conv2d(3, width, PATCH, PATCH)})

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (b, 257, width) of images (b, 3, 224, 224)."""
        x = self.patch_embeddings["projection"](x)
        # trained at 518 pixels: positions are resampled for 224, by bicubic as its authors do
        grid = self.position_embeddings[:, 1:].mT.unflatten(2, (GRID, GRID))
        positions = F.interpolate(grid, x.shape[2:], mode="bicubic").flatten(2).mT
        first = (self.cls_token + self.position_embeddings[:, :1]).expand(len(x), -1, -1)
        return torch.cat([first, x.flatten(2).mT + positions], 1)


class DinoV2(nn.Module):
    """From images (b, 3, 224, 224), standardised as for ImageNet, to the class token (b, width); of `depth` layers."""

    def __init__(self, width: int = 384, depth: int = 12) -> None:
        super().__init__()
        self.embeddings = Embeddings(width)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList([Layer(width) for _ in range(depth)])})
        self.layernorm = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (b, width)."""
        x = self.embeddings(x)
        for layer in self.encoder["layer"].children():
            x = layer(x)
        return self.layernorm(x)[:, 0]
