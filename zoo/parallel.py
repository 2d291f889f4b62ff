"""One network over several devices: weights in shards (FSDP2), and matrices of blocks in parts (tensor parallel)."""

import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

from zoo.errors import ZooError
from zoo.layers.attention import Attention
from zoo.layers.blocks import blocks
from zoo.layers.gate import GatedActivation
from zoo.layers.transformer import TransformerBlock

DATA, TENSOR = "data_parallel", "tensor_parallel"  # as Lightning calls the dimensions of its mesh


def spread(network: nn.Module, mesh: DeviceMesh) -> None:
    """Give each process its part of a network, in place; all begin with the weights of the first.

    Along the mesh's dimension "tensor_parallel" each transformer block is split as ``tensor_plan`` says (Shoeybi et
    al., "Megatron-LM", 2019); along "data_parallel" the weights of each block, and of what is around the blocks, lie
    in shards that are gathered when they are needed (Zhao et al., "PyTorch FSDP", 2023).

    Raises:
        ZooError: a block cannot be split over so many processes.
    """
    if any(isinstance(parameter, DTensor) for parameter in network.parameters()):
        return  # a second fit, or a test behind it
    for tensor in [*network.parameters(), *network.buffers()]:
        dist.broadcast(tensor.detach(), 0)
    tensor_mesh, parts = mesh[TENSOR], blocks(network)
    if tensor_mesh.size() > 1:
        split = {name: block for name, block in parts.items() if isinstance(block, TransformerBlock)}
        if not split:
            raise ZooError(
                f"{type(network).__name__} has no transformer blocks to split over {tensor_mesh.size()} processes; set"
                " tensor_parallel_size to 1"
            )
        for name, block in split.items():
            parallelize_module(block, tensor_mesh, tensor_plan(name, block, tensor_mesh.size()))
    if mesh[DATA].size() > 1:
        for part in parts.values():
            fully_shard(part, mesh=mesh[DATA])
        fully_shard(network, mesh=mesh[DATA])


def tensor_plan(name: str, block: TransformerBlock, processes: int) -> dict[str, ParallelStyle]:
    """Which layers of a block are split by their outputs and which by their inputs, so that it talks once a branch.

    Raises:
        ZooError: heads or hidden units cannot be divided, or would not belong together.
    """
    hidden = block.feed_forward.contract.in_features
    plan: dict[str, ParallelStyle] = {
        "feed_forward.expand": ColwiseParallel(),
        "feed_forward.contract": RowwiseParallel(),
    }
    for part, layer in block.named_children():
        if isinstance(layer, Attention):
            plan |= {f"{part}.{kind}": ColwiseParallel() for kind in ("query", "key", "value")}
            plan[f"{part}.out"] = RowwiseParallel()
            heads = layer.key.out_features // layer.head_width
            if heads % processes:
                raise ZooError(
                    f"{name}.{part} has {heads} heads for keys, which cannot be split over {processes} processes"
                )
            if not isinstance(layer.query_norm, nn.Identity):
                raise ZooError(
                    f"{name}.{part} normalises queries by one gain for all heads, which processes with a part of the"
                    " heads would learn apart; use qk_norm=false, or FSDP alone"
                )
    if isinstance(block.feed_forward.activation, GatedActivation):
        raise ZooError(
            f"{name}.feed_forward has a gate, whose two halves would lie on different processes; choose another"
            " activation (gelu, relu_squared), or FSDP alone"
        )
    if hidden % processes:
        raise ZooError(
            f"{name}.feed_forward has {hidden} hidden units, which cannot be split over {processes} processes"
        )
    return plan
