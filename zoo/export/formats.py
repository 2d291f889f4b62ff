"""Write a network as ONNX, as a torch.export program or as bare weights, and read each back to see that it is right."""

import io
import json
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.export.inputs import Inputs
from zoo.export.scanned import scanned
from zoo.module import SupervisedModule, ZooModule

Format: TypeAlias = Literal["onnx", "pt2", "safetensors"]
Answers: TypeAlias = Callable[[tuple[Tensor, ...]], Tensor]

TRACED = (3, 7)  # samples and steps of the example that is traced; none of them is a size that means something else
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
        "steps": torch.export.Dim("steps", min=1, max=inputs.longest),
    }
    shapes = tuple({dimension: sizes[name] for dimension, name in of_one.items()} for of_one in inputs.dynamic)
    answer = Answer(scanned(inputs.module).eval(), raw).eval()
    try:
        # Strict, for it understands len(x) of a tensor whose size may vary.
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(answer, inputs.draw(*TRACED), dynamic_shapes=(shapes,), strict=True)
    except Exception as error:  # the exporter has dozens of its own
        name = type(inputs.module).__name__
        raise ZooError(f"{name} cannot be traced into a graph: {' '.join(str(error).split())[:300]}") from error


def write(format: Format, inputs: Inputs, file: Path, raw: bool = False, about: Mapping[str, str] | None = None) -> None:
    """Write the network.

    Args:
        format: "onnx" for runtimes other than torch; "pt2" is torch's own and needs no code of ours; "safetensors" is
            the weights alone.
        inputs: of the network.
        file: where to.
        raw: see ``Answer``.
        about: facts to keep in the file, as plain text.

    Raises:
        ZooError: a package is missing, or the network cannot be traced.
    """
    about = dict(about or {})
    match format:
        case "safetensors":
            from safetensors.torch import save_file

            # Tied layers share a tensor, which the format does not; each gets its own copy.
            save_file({k: v.detach().clone() for k, v in inputs.module.state_dict().items()}, file, about)
        case "pt2":
            torch.export.save(trace(inputs, raw), file, extra_files={"zoo.json": json.dumps(about)})
        case "onnx":
            need("onnx", "onnxscript", "onnxruntime")
            with redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = torch.onnx.export(
                    trace(inputs, raw), dynamo=True, verbose=False, optimize=True,
                    input_names=list(inputs.names), output_names=["prediction"],
                )  # fmt: skip
            assert program is not None
            program.model.metadata_props.update(about)
            for size in {name for of_one in inputs.dynamic for name in of_one.values()}:
                _name_size(program.model, inputs, size)
            program.save(str(file), external_data=False)


def _name_size(model: Any, inputs: Inputs, size: str) -> None:
    """Call a size by what it is; the exporter knows it by a number."""
    import onnx_ir

    found = {
        str(value.shape[dimension])
        for value, of_one in zip(model.graph.inputs, inputs.dynamic)
        for dimension, name in of_one.items()
        if name == size
    }
    for value in [*model.graph.inputs, *model.graph.outputs]:
        dimensions = [size if str(d) in found else d for d in value.shape]
        value.shape = onnx_ir.Shape(dimensions)


def quantize(file: Path, out: Path) -> None:
    """Weights of matrix products and convolutions as whole numbers of 8 bits, activations quantised as they come.

    By onnxruntime's dynamic quantisation: no data are needed, and none of the training is repeated.

    Args:
        file: an ONNX file with numbers of 32 bits.
        out: where to.
    """
    need("onnx", "onnxruntime")
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # it recommends a preparation that the exporter has done
    try:
        quantize_dynamic(str(file), str(out), weight_type=QuantType.QUInt8)
    finally:
        logging.root.setLevel(level)


def read(format: Format, file: Path, inputs: Inputs, fresh: Callable[[], ZooModule], raw: bool = False) -> Answers:
    """What a file that was written says, as a function of the network's inputs.

    Args:
        format: of the file.
        file: what to read.
        inputs: of the network.
        fresh: builds an untrained network for bare weights.
        raw: see ``Answer``.
    """
    if format == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

        def run(given: tuple[Tensor, ...]) -> Tensor:
            feed = {name: tensor.numpy() for name, tensor in zip(inputs.names, given)}
            return torch.from_numpy(session.run(None, feed)[0])

        return run
    if format == "pt2":
        program = torch.export.load(file).module()
        return lambda given: cast(Tensor, program(*given))
    from safetensors.torch import load_file

    module = fresh().eval()
    module.load_state_dict(load_file(file))
    answer = Answer(module, raw).eval()
    return lambda given: cast(Tensor, answer(*given))


@torch.no_grad()
def difference(inputs: Inputs, answers: Answers, raw: bool = False) -> float:
    """The greatest difference from the network's own answers, at sizes that were not traced.

    In units of the greatest value that the network answers, or absolute where that is below 1.
    """
    answer, worst = Answer(inputs.module.eval(), raw).eval(), 0.0
    for batch, steps in COMPARED:
        given = inputs.draw(batch, steps, seed=batch)
        own = answer(*given)
        found = answers(given)
        if found.shape != own.shape:
            raise ZooError(f"the file answers with the shape {tuple(found.shape)}, the network with {tuple(own.shape)}")
        gap = float((found - own).abs().max() / own.abs().max().clamp(min=1))
        worst = max(worst, gap if gap == gap else float("inf"))  # NaN is no small difference
    return worst


def need(*packages: str) -> None:
    """Raise ZooError naming the extra when a package is not installed."""
    from importlib.util import find_spec

    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ZooError(f"this needs {', '.join(missing)}: pip install 'lightning-zoo[export]'")
