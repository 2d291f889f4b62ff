"""Files for other programs against the networks that they were written from, family by family."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.cnn import LeNet, ResNet
from zoo.encoder_decoder import EncoderDecoder
from zoo.errors import ZooError
from zoo.export import formats
from zoo.export.inputs import Inputs, inputs_of
from zoo.forecasting import DLinear, SegRNN
from zoo.gan import GAN
from zoo.generators.mlp import MLPDiscriminator, MLPGenerator
from zoo.layers.transformer import BlockDesign
from zoo.losses import GaussianNLL
from zoo.mlp import MLP
from zoo.module import SupervisedModule, ZooModule
from zoo.patch_tst import PatchTST
from zoo.recurrent_forecaster import RecurrentForecaster
from zoo.rnn import RNN
from zoo.rnn_language_model import RNNLanguageModel
from zoo.sequence_transformer import SequenceTransformer
from zoo.tabular import FTTransformer, TabM, TabularMLP
from zoo.task import Classification, Forecasting, LanguageModeling, Regression, Tagging, Translation
from zoo.transformer import GPT
from zoo.vision_transformer import ViT


def _forecasting(**options: object) -> Forecasting:
    task = Forecasting(2, 4, **options)  # type: ignore[arg-type]
    task.fit_targets(torch.randn(20, 2) * torch.tensor([3.0, 0.1]) + 40)
    return task


def _regression() -> Regression:
    task = Regression(1)
    task.fit_targets(torch.randn(20, 1) * 50 + 300)
    return task


def _game() -> GAN:
    told = "concatenation"
    return GAN(MLPGenerator([3], 2, 4, [5], conditioning=told), MLPDiscriminator([3], 2, [5], conditioning=told))


NETWORKS: dict[str, Callable[[], ZooModule]] = {
    "mlp": lambda: MLP(6, _regression(), [4, 4], norm="batch", dropout=0.1),
    "lenet": lambda: LeNet(1, 8, Classification(3)),
    "resnet": lambda: ResNet(1, Classification(3), [1, 1], width=4),
    "tabular_mlp": lambda: TabularMLP(6, _regression(), [3, 2], hidden=[4]),
    "tabm": lambda: TabM(6, Classification(3), hidden=[4], members=2),
    "ft": lambda: FTTransformer(6, Classification(3), width=4, blocks=1, heads=2),
    "rnn": lambda: RNN(3, Classification(3), hidden=4, bidirectional=True, readout="attention"),
    "rnn_tagging": lambda: RNN(3, Tagging(3), hidden=4, cell="gru", bidirectional=True),
    "rnn_language_model": lambda: RNNLanguageModel(9, LanguageModeling(9), 8, 4, tied=True),
    "gpt": lambda: GPT(9, 8, LanguageModeling(9), width=8, layers=1),
    "encoder_decoder": lambda: EncoderDecoder(7, Translation(7), 9, width=8, layers=1, context=12),
    "sequence_transformer": lambda: SequenceTransformer(
        3, Classification(3), width=8, layers=1, readout="class", context=12, block=BlockDesign(heads=2)
    ),
    "vit": lambda: ViT(1, 8, Classification(3), width=8, layers=1, block=BlockDesign(heads=2)),
    "patch_tst": lambda: PatchTST(2, 8, _forecasting(), patch=4, stride=4, width=8, layers=1),
    "dlinear": lambda: DLinear(2, 8, _forecasting(), kernel=3),
    "segrnn": lambda: SegRNN(3, 8, _forecasting(), segment=4, hidden=4),
    "autoregressive": lambda: RecurrentForecaster(
        2, 8, _forecasting(loss=GaussianNLL()), hidden=4, decoder="autoregressive", normalization="revin_affine"
    ),
    "gan": _game,
}
# Tracing takes seconds for each, and so does the exporter.
QUICK = {"pt2": ("mlp", "lenet", "tabular_mlp", "gpt", "dlinear", "gan"), "onnx": ("mlp", "rnn")}


def names(format: str) -> list[Any]:
    return [name if name in QUICK[format] else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]


def both(name: str) -> tuple[ZooModule, Inputs]:
    network = NETWORKS[name]().eval()
    return network, inputs_of(network)


@torch.no_grad()
def decoded(network: ZooModule, given: tuple[torch.Tensor, ...]) -> torch.Tensor:
    own: torch.Tensor = network(*given)
    return network.task.decode(own) if isinstance(network, SupervisedModule) else own


@pytest.mark.parametrize("name", names("pt2"))
def test_a_pt2_file_answers_like_the_network(name: str, tmp_path: Path) -> None:
    network, inputs = both(name)
    formats.write("pt2", inputs, tmp_path / "n.pt2", about={"network": name})
    facts = {"zoo.json": ""}
    program = torch.export.load(tmp_path / "n.pt2", extra_files=facts).module()
    assert name in facts["zoo.json"]
    for batch, steps in ((1, 1), (2, 3), (9, 6)):  # without the comparison of the command
        given = inputs.draw(batch, steps, seed=batch)
        own = decoded(network, given)
        with torch.no_grad():  # a scan that might be differentiated starts threads that forbid later tests to fork
            found = program(*given)
        torch.testing.assert_close(found, own, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", names("onnx"))
def test_an_onnx_file_answers_like_the_network(name: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="pip install 'lightning-zoo[export]'")
    pytest.importorskip("onnxruntime", reason="pip install 'lightning-zoo[export]'")
    network, inputs = both(name)
    file = tmp_path / "n.onnx"
    formats.write("onnx", inputs, file, about={"network": name})
    model = onnx.load(file)
    onnx.checker.check_model(model)
    assert [p.value for p in model.metadata_props if p.key == "network"] == [name]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert str(Path(__file__).parents[3]) not in file.read_bytes().decode("latin-1")  # no paths of this machine
    answers = formats.read("onnx", file, inputs)
    for batch, steps in ((1, 1), (2, 3), (9, 6)):
        given = inputs.draw(batch, steps, seed=batch)
        own = decoded(network, given)
        torch.testing.assert_close(answers(given), own, rtol=1e-4, atol=1e-5)


def test_raw_answers_are_those_of_forward(tmp_path: Path) -> None:
    network, inputs = both("mlp")
    formats.write("pt2", inputs, tmp_path / "n.pt2", raw=True)
    given = inputs.draw(2, 1)
    torch.testing.assert_close(formats.read("pt2", tmp_path / "n.pt2", inputs)(given), network(*given))


def test_eight_bits_are_near_and_small(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="pip install 'lightning-zoo[export]'")
    torch.manual_seed(1)
    network = MLP(32, Classification(4), [128, 128]).eval()
    inputs = inputs_of(network)
    formats.write("onnx", inputs, tmp_path / "n.onnx")
    formats.quantize(tmp_path / "n.onnx", tmp_path / "q.onnx")
    found = formats.difference(inputs, formats.read("onnx", tmp_path / "q.onnx", inputs))
    assert 0 < found < 0.02
    assert (tmp_path / "q.onnx").stat().st_size < 0.4 * (tmp_path / "n.onnx").stat().st_size


def test_what_a_draw_holds() -> None:
    _, tabular = both("tabular_mlp")
    (x,) = tabular.draw(50, 1)
    assert set(x[:, 4].tolist()) == {0.0, 1.0, 2.0}  # codes of categories, where they stand
    assert set(x[:, 5].tolist()) == {0.0, 1.0}
    _, rnn = both("rnn")
    x, lengths = rnn.draw(5, 7)
    assert x.shape == (5, 7, 3)
    assert lengths.max() == 7
    assert lengths.min() >= 1
    _, gpt = both("gpt")
    assert gpt.draw(2, 100)[0].shape == (2, 8)  # never beyond the window
    _, inputs = both("dlinear")
    assert inputs.draw(50, 1)[0][..., 0].mean() == pytest.approx(40, abs=2)  # in original units


@pytest.mark.parametrize("wrong", ["shape", "value", "nan"])
def test_a_wrong_file_is_seen(wrong: str) -> None:
    network, inputs = both("mlp")

    def answers(given: tuple[torch.Tensor, ...]) -> torch.Tensor:
        own = formats.Answer(network)(*given)
        at_one_sample = (torch.arange(len(own)) == 4)[:, None]
        return {"shape": own[:, :0], "value": own + at_one_sample, "nan": own * torch.nan}[wrong]

    if wrong == "shape":
        with pytest.raises(ZooError, match="the file answers with the shape"):
            formats.difference(inputs, answers)
    else:
        assert formats.difference(inputs, answers) > 1e-3


def test_a_network_that_depends_on_data_is_named(tmp_path: Path) -> None:
    class Fickle(MLP):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) if x.sum() > 0 else super().forward(-x)

    with pytest.raises(ZooError, match="Fickle cannot be traced into a graph"):
        formats.write("pt2", inputs_of(Fickle(6, Classification(3))), tmp_path / "n.pt2")


def test_a_missing_package_is_named_with_its_extra() -> None:
    with pytest.raises(ZooError, match=r"no_such_package: pip install 'lightning-zoo\[export\]'"):
        formats.need("torch", "no_such_package")
