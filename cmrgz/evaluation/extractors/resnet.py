"""ResNet-50 up to its average pool: He et al. 2016, arXiv:1512.03385, the names of its tensors as in torchvision.

For weights of ImageNet, of SwAV (arXiv:2006.09882) or of RadImageNet (doi:10.1148/ryai.210315): the same network.
"""

from torch import Tensor, nn
from torch.nn import functional as F

BLOCKS = (3, 4, 6, 3)
EXPANSION = 4
SIDE = 224
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HEADS = ("fc.",)


class Bottleneck(nn.Module):
    """Three convolutions beside a shortcut; the middle one may halve the resolution."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        # the stride is here as in torchvision, not in the first convolution as in the paper: weights are of this one
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (b, 4 width, h, w) of maps (b, inputs, h, w)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet50(nn.Module):
    """From images (b, 3, 224, 224), standardised as for ImageNet, to features (b, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for level, count in enumerate(BLOCKS):
            width = 64 << level
            self.add_module(f"layer{level + 1}", _layer(inputs, width, count, 1 if level == 0 else 2))
            inputs = width * EXPANSION

    def forward(self, x: Tensor) -> Tensor:
        """Return features (b, 2048)."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for level in range(len(BLOCKS)):
            x = self.get_submodule(f"layer{level + 1}")(x)
        return x.mean((2, 3))


def _layer(inputs: int, width: int, count: int, stride: int) -> nn.Sequential:
    later = (Bottleneck(width * EXPANSION, width, 1) for _ in range(count - 1))
    return nn.Sequential(Bottleneck(inputs, width, stride), *later)
