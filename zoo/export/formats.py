"""Write a network as ONNX or as a torch.export program, and read each back to see that it is right."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.export.inputs import STEPS, TARGET_STEPS, Inputs
from zoo.export.scanned import scanned
from zoo.module import SupervisedModule, ZooModule

Graph: TypeAlias = Literal["onnx", "pt2"]
Answers: TypeAlias = Callable[[tuple[Tensor, ...]], Tensor]

TRACED = (3, 7)  # samples and steps of the example that is traced
COMPARED = ((1, 5), (6, 11))


class Answer(nn.Module):
    """What a network says, as a user reads it: class probabilities, values in original units, samples.

    Args:
        module: the network.
        raw: leave its output as it is: logits, standardised values.
    """

    def __init__(self, module: ZooModule, raw: bool = False) -> None:
        super().__init__()
        self.network = module
        self.task = module.task if isinstance(module, SupervisedModule) and not raw else None

    def forward(self, *inputs: Tensor) -> Tensor:
        prediction = self.network(*inputs)
        return cast(Tensor, prediction if self.task is None else self.task.decode(prediction))


def trace(inputs: Inputs, raw: bool = False) -> torch.export.ExportedProgram:
    """The network as a graph that holds for every size that may vary.

    Raises:
        ZooError: it does things that depend on data, which no graph can hold.
    """
    sizes = {
        "batch": torch.export.Dim("batch", min=1),
        STEPS: torch.export.Dim(STEPS, min=1, max=inputs.longest),
        TARGET_STEPS: torch.export.Dim(TARGET_STEPS, min=1, max=inputs.longest),
    }
    shapes = tuple({dimension: sizes[name] for dimension, name in of_one.items()} for of_one in inputs.dynamic)
    answer = Answer(scanned(inputs.module).eval(), raw).eval()
    try:
        with torch.no_grad(), _quietly():
            # Strict, for it understands len(x) of a tensor whose size may vary.
            program = torch.export.export(answer, inputs.draw(*TRACED), dynamic_shapes=(shapes,), strict=True)
    except Exception as error:  # the exporter has dozens of its own
        name = type(inputs.module).__name__
        raise ZooError(f"{name} cannot be traced into a graph: {' '.join(str(error).split())[:300]}") from error
    for module in program.graph_module.modules():
        for node in getattr(module, "graph", torch.fx.Graph()).nodes:
            node.meta.pop("stack_trace", None)  # paths of this machine, and most of the file
    return program


@torch.no_grad()  # a scan that might be differentiated starts autograd's threads, after which no process can be forked
def write(format: Graph, inputs: Inputs, file: Path, raw: bool = False, about: Mapping[str, str] | None = None) -> None:
    """Write the network.

    Args:
        format: "onnx" for runtimes other than torch; "pt2" is torch's own, and needs no code of ours.
        inputs: of the network.
        file: where to.
        raw: see ``Answer``.
        about: facts to keep in the file, as plain text.

    Raises:
        ZooError: a package is missing, or the network cannot be traced.
    """
    if format == "onnx":
        need("onnx", "onnxscript", "onnxruntime")
    program, facts = trace(inputs, raw), dict(about or {})
    if format == "pt2":
        with _quietly(), file.open("wb") as stream:
            torch.export.save(program, stream, extra_files={"zoo.json": json.dumps(facts)})
        return
    with _quietly():
        exported = torch.onnx.export(
            program, dynamo=True, verbose=False, input_names=list(inputs.names), output_names=["prediction"]
        )
    assert exported is not None
    model = exported.model
    model.metadata_props.update(facts)
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
    _name_sizes(model, inputs)
    exported.save(str(file), external_data=False)


def _name_sizes(model: Any, inputs: Inputs) -> None:
    """Call sizes that may vary by what they are; the exporter numbers them."""
    import onnx_ir

    called = {
        str(value.shape[dimension]): name
        for value, of_one in zip(model.graph.inputs, inputs.dynamic)
        for dimension, name in of_one.items()
    }
    for value in [*model.graph.inputs, *model.graph.outputs]:
        value.shape = onnx_ir.Shape([called.get(str(size), size) for size in value.shape])


def quantize(file: Path, out: Path) -> None:
    """Weights of matrix products and convolutions as whole numbers of 8 bits, activations quantised as they come.

    By onnxruntime's dynamic quantisation: no data are needed, and none of the training is repeated.

    Args:
        file: an ONNX file with numbers of 32 bits.
        out: where to.
    """
    need("onnx", "onnxruntime")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quietly():
        quantize_dynamic(str(file), str(out), weight_type=QuantType.QUInt8, extra_options={"EnableSubgraph": True})


def read(format: Graph, file: Path, inputs: Inputs) -> Answers:
    """What a file that was written says, as a function of the network's inputs."""
    if format == "pt2":
        with _quietly(), file.open("rb") as stream:
            program = torch.export.load(stream).module()
        return torch.no_grad()(lambda given: cast(Tensor, program(*given)))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    taken = {value.name for value in session.get_inputs()}  # a graph that ignores an argument has no place for it

    def run(given: tuple[Tensor, ...]) -> Tensor:
        feed = {name: tensor.numpy() for name, tensor in zip(inputs.names, given) if name in taken}
        return torch.from_numpy(session.run(None, feed)[0])

    return run


@torch.no_grad()
def difference(inputs: Inputs, answers: Answers, raw: bool = False) -> float:
    """The greatest difference from the network's own answers, at sizes that were not traced.

    As a share of the greatest value that the network answers; absolute where that is below 1.

    Raises:
        ZooError: the answers have another shape.
    """
    answer, worst = Answer(inputs.module.eval(), raw).eval(), 0.0
    for batch, steps in COMPARED:
        given = inputs.draw(batch, steps, seed=batch)
        own, found = answer(*given), answers(given)
        if found.shape != own.shape:
            raise ZooError(f"the file answers with the shape {tuple(found.shape)}, the network with {tuple(own.shape)}")
        share = float((found - own).abs().max() / own.abs().max().clamp(min=1))
        worst = max(worst, share if share == share else float("inf"))  # NaN is no small difference
    return worst


def need(*packages: str, extra: str = "export") -> None:
    """Raise ZooError naming the extra when a package is not installed."""
    from importlib.util import find_spec

    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ZooError(f"this needs {', '.join(missing)}: pip install 'lightning-zoo[{extra}]'")


@contextmanager
def _quietly() -> Iterator[None]:
    """Exporters tell of their steps and warn of what is as it should be; errors are raised, not printed."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
