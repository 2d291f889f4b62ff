"""What averages of weights share: they copy the network, which has to be there as a whole."""

from lightning.pytorch import LightningModule

from callbacks.technique import UnsupportedModule


def require_whole(technique: str, module: LightningModule) -> None:
    """Raise UnsupportedModule where each process holds a part of the weights."""
    if module.device_mesh is not None:
        raise UnsupportedModule(
            f"{technique} copies the whole network, of which each process holds a part under ModelParallelStrategy;"
            f" drop {technique}, or use the strategy ddp"
        )
