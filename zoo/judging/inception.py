"""The network that the FID is defined by, from a file that the user has."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.judging.features import Features, Seen

# Of the weights that torch-fidelity and torchmetrics load: TensorFlow's graph of December 2015, ported to torch.
SHA256 = "6726825d"
FILE = f"pt_inception-2015-12-05-{SHA256}.pth"


class InceptionFeatures(Features):
    """The last pooled features of the Inception network of 2015, by torchmetrics: what a published FID rests on.

    Args:
        weights: the file ``pt_inception-2015-12-05-6726825d.pth``; any other network would measure another thing under
            the same name.
        scale, shift: what brings samples to pixels in [0, 1], scale * x + shift; one number a channel, or one for all.

    Raises:
        ZooError: no such file, another one, or torch-fidelity is not installed.
    """

    name = "inception"

    def __init__(self, weights: Path, scale: Tensor, shift: Tensor) -> None:
        if not weights.is_file():
            raise ZooError(f"inception: no file {weights}; the FID needs {FILE}")
        with weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if not found.startswith(SHA256):
            raise ZooError(
                f"inception: {weights} is not {FILE} (its SHA-256 begins with {found[:8]}), and by another network it"
                " would be no FID; give it as a run folder in classifier"
            )
        if find_spec("torch_fidelity") is None:
            raise ZooError("inception: the FID needs the package torch-fidelity; pip install torch-fidelity")
        from torchmetrics.image.fid import NoTrainInceptionV3

        self.network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights))
        self.scale, self.shift = scale.view(-1, 1, 1), shift.view(-1, 1, 1)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Seen:
        features = []
        for part in x.split(100):
            pixels = ((self.scale * part + self.shift).clamp(0, 1) * 255).round().to(torch.uint8)
            features.append(self.network(pixels.expand(-1, 3, -1, -1)).double().cpu())
        return Seen(torch.cat(features), None)
