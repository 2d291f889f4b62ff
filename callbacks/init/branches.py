"""What init schemes of residual networks of the transformer kind share: where the branches end."""

from typing import Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class HasBranches(Protocol):
    """A network that says which linear layer ends each of its residual branches, by name."""

    @property
    def branches(self) -> dict[str, nn.Linear]: ...
