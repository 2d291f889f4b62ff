"""Manifold MixUp: MixUp of hidden features at a layer that is drawn anew for each batch."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.hooks import RemovableHandle

from callbacks.augmentation.mixing import BatchMixing, blend, draw_share, mix_targets
from callbacks.technique import UnsupportedModule
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.layers.blocks import blocks
from zoo.module import SupervisedModule, ZooModule

INPUT = "input"


def mixing_layers(module: nn.Module) -> list[str]:
    """The layers that Manifold MixUp chooses from by default: the input, and the blocks of ``module.backbone``.

    A block is a direct child of the backbone that has parameters and is no norm (a stem, a residual block, a stage), or
    one of a list of ``blocks`` in such a child.
    """
    backbone = dict(module.named_children()).get("backbone")
    found: dict[str, nn.Module] = {}
    for name, child in backbone.named_children() if backbone is not None else ():
        found |= {f"{name}.{inner}": block for inner, block in blocks(child).items()} or {name: child}
    norms = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
    learnt = [name for name, m in found.items() if not isinstance(m, norms) and any(True for _ in m.parameters())]
    return [INPUT, *(f"backbone.{name}" for name in learnt)]


class ManifoldMixUp(BatchMixing):
    """Mix the output of a random layer k, and the targets, with one share l ~ Beta(alpha, alpha) for the batch.

    g_k(x~) = l g_k(x_i) + (1 - l) g_k(x_j), y~ = l y_i + (1 - l) y_j. Verma, Lamb, Beckham, Najafi, Mitliagkas,
    Lopez-Paz and Bengio, "Manifold mixup: Better representations by interpolating hidden states", 2019, section 2. The
    mixing happens in a forward hook, once in a step; gradients flow through both partners.

    Args:
        alpha: 0 mixes nothing; 2 is the paper's, 1 draws shares uniformly.
        p: probability in [0, 1] that a batch is mixed.
        layers: names of submodules, and "input", that k is drawn from; null for the input and all blocks of the
            backbone. The paper takes the input and the first stages.
    """

    inputs = ("vectors", "images")

    def __init__(self, alpha: float = 2.0, p: float = 1.0, layers: list[str] | None = None) -> None:
        super().__init__(alpha, p)
        if layers == []:
            raise ZooError("ManifoldMixUp: layers is empty; name submodules, or leave it out for all blocks")
        self.layers = layers
        self._choices: list[str] = []
        self._pending: tuple[str, RemovableHandle] | None = None

    def attach(self, module: ZooModule) -> None:
        super().attach(module)
        self._choices = self.layers or mixing_layers(module)
        if self._choices == [INPUT] and self.layers is None:
            raise UnsupportedModule(
                f"ManifoldMixUp finds no backbone with layers in {type(module).__name__}; name them with layers, or"
                " use MixUp"
            )
        known = {name for name, _ in module.named_modules() if name}
        for name in self._choices:
            if name != INPUT and name not in known:
                raise ZooError(
                    f"ManifoldMixUp: {type(module).__name__} has no layer {name!r}; it has, among others:"
                    f" {', '.join(mixing_layers(module))}"
                )

    def mix(self, module: SupervisedModule, batch: Batch, permutation: Tensor) -> Batch:
        self._forget()  # of a step that was given up, as some line searches do
        name = self._choices[int(torch.randint(len(self._choices), ()).item())]
        share = draw_share(self.alpha)
        mixed = mix_targets(batch, module.task, permutation, share)
        if name == INPUT:
            return mixed._replace(x=blend(batch.x, permutation, share))

        def mix_output(layer: nn.Module, inputs: Any, output: Any) -> Tensor:
            self._forget()  # one forward pass is mixed; later ones of this step see plain features
            if not isinstance(output, Tensor) or len(output) != len(permutation):
                raise UnsupportedModule(
                    f"ManifoldMixUp: {name} puts out no tensor with one row a sample; choose other layers"
                )
            return blend(output, permutation, share)

        self._pending = name, module.get_submodule(name).register_forward_hook(mix_output)
        return mixed

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._pending is not None:
            name = self._pending[0]
            self._forget()
            raise ZooError(
                f"ManifoldMixUp: the forward pass did not run {name}, so that targets were mixed and features were not;"
                " leave it out of layers"
            )
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def detach(self, module: ZooModule) -> None:
        super().detach(module)
        self._forget()

    def _forget(self) -> None:
        if self._pending is not None:
            self._pending[1].remove()
            self._pending = None
