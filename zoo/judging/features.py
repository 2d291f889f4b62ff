"""What samples are compared by: their own numbers, or what a classifier sees in them; and which class each shows."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import ZooError
from zoo.judging.neighbours import nearest
from zoo.module import SupervisedModule

_BATCH = 500
_FOR_COMPONENTS, _SIDE = 1000, 32  # samples and pixels that a decomposition takes a second for


class Seen(NamedTuple):
    """Features of N samples, on the CPU.

    Attributes:
        features: float64 (N, D).
        classes: the class that each shows, int64 (N,); None where the data have no classes.
    """

    features: Tensor
    classes: Tensor | None


class Features(ABC):
    """What turns samples into features.

    Attributes:
        name: for the names of metrics: two numbers are comparable only where the features have the same name.
    """

    name: str

    @abstractmethod
    def __call__(self, x: Tensor) -> Seen:
        """Features of samples (N, *sample_shape), as the networks of the game see them."""


class PlainFeatures(Features):
    """The samples' own numbers: all of few, else their principal components; the class is the nearest neighbour's.

    Args:
        kind: "points" or "pixels", for the name.
        x: training samples (N, *sample_shape) that decide on the components.
        y: their classes, int64 (N,); None where there are none.
        components: so many at most.
    """

    def __init__(self, kind: str, x: Tensor, y: Tensor | None, components: int = 64) -> None:
        flat = _flat(x)
        self.name, self.basis = kind, None
        if flat.shape[1] > components:
            self.name += f"_pca{components}"
            part = flat[:_FOR_COMPONENTS]
            # (D, components); the axes of largest variance
            self.basis = torch.linalg.svd(part - part.mean(0), full_matrices=False).Vh[:components].mT.contiguous()
        self.known, self.classes = self._project(flat), None if y is None else y.cpu()

    def __call__(self, x: Tensor) -> Seen:
        features = self._project(_flat(x))
        return Seen(features, None if self.classes is None else self.classes[nearest(features, self.known)])

    def _project(self, flat: Tensor) -> Tensor:
        return flat if self.basis is None else flat @ self.basis


def _flat(x: Tensor) -> Tensor:
    """(N, D), float64, on the CPU; images of more than 32 pixels are made smaller first."""
    if x.ndim == 4 and max(x.shape[2:]) > _SIDE:
        x = F.adaptive_avg_pool2d(x, _SIDE)
    return x.flatten(1).double().cpu()


class ClassifierFeatures(Features):
    """What the last layer of a classifier is given, and the class that it chooses.

    Args:
        classifier: built as the families of the zoo are, with ``head`` as its last layer; it is frozen.
        scale, shift: what brings the samples of the game to what the classifier was trained on, scale * x + shift;
            one number a channel, or one for all.

    Raises:
        ZooError: there is no layer called ``head``.
    """

    def __init__(self, classifier: SupervisedModule, scale: Tensor, shift: Tensor) -> None:
        head = dict(classifier.named_children()).get("head")
        if head is None:
            raise ZooError(f"{type(classifier).__name__} has no last layer called head, whose inputs would be features")
        self.classifier, self.head = classifier.requires_grad_(False).eval(), head
        self.scale, self.shift = scale.view(-1, 1, 1), shift.view(-1, 1, 1)
        self.name = type(classifier).__name__.lower()

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Seen:
        device = next(self.classifier.parameters()).device
        given: list[Tensor] = []

        def keep(head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            given.append(inputs[0].flatten(1).double().cpu())

        handle = self.head.register_forward_pre_hook(keep)
        try:
            said = [self.classifier(self.scale * part + self.shift) for part in self._parts(x, device)]
        finally:
            handle.remove()
        return Seen(torch.cat(given), torch.cat([logits.argmax(1).cpu() for logits in said]))

    def _parts(self, x: Tensor, device: torch.device) -> list[Tensor]:
        return [part.to(device, torch.float32) for part in x.split(_BATCH)]
