"""PyTorch's files, read without PyTorch and compared with the result of `torch.load`, bit for bit."""

import collections
import copy
import io
import pathlib
import subprocess
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from outputs import assert_close
from torch import nn

import steelyard
from steelyard.errors import FormatError
from steelyard.formats import format_of
from steelyard.storage.source import open_path
from steelyard.testing import check_format

CARRIERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def as_bytes(tensor):
    """The numbers of any strided tensor as row-major little-endian bytes."""
    tensor = tensor.detach().resolve_conj().resolve_neg().contiguous()
    if tensor.dtype == torch.complex32:
        tensor = tensor.to(torch.complex64)
    if tensor.is_complex():
        return tensor.numpy().tobytes()
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def same(weight, tensor):
    assert weight.shape == tuple(tensor.shape)
    assert weight.numpy().tobytes() == as_bytes(tensor)


def assert_equal(weights, tensors):
    assert list(weights) == list(tensors)
    for name, tensor in tensors.items():
        same(weights[name], tensor)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.lstm = nn.LSTM(4, 5, bidirectional=True)
        self.attention = nn.MultiheadAttention(4, 2)
        self.embedding = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7)
        self.head.weight = self.embedding.weight
        self.register_buffer("steps", torch.arange(3))
        self.register_buffer("cache", torch.ones(2), persistent=False)
        self.note = torch.full((2,), 7.0)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    block = Block()
    block.head.bias.requires_grad_(False)
    return block


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_is_read_in_every_protocol_and_container(tmp_path, model, protocol, zipped):
    path = tmp_path / "a.pt"
    torch.save(model.state_dict(), path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    weights = steelyard.weights(path)
    assert_equal(weights, model.state_dict())
    assert weights["head.weight"].tied == "embedding.weight"
    check_format(open_path(path))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_module_gives_its_state_dict_without_its_class(tmp_path, model, zipped):
    path = tmp_path / "a.pth"
    torch.save(model, path, _use_new_zipfile_serialization=zipped)
    weights, live = steelyard.weights(path), steelyard.weights(model)
    assert_equal(weights, model.state_dict())
    for name, weight in live.items():
        read = weights[name]
        assert (read.role, read.axes, read.layer, read.trainable) == (weight.role, weight.axes, weight.layer, weight.trainable), (
            name
        )
    everything = steelyard.weights(path, scope="all")
    assert {"cache", "note"} <= set(everything)
    assert any("Block" in finding.what for finding in weights.audit.findings), "the class that a loader would import is named"


def test_reading_a_file_imports_neither_torch_nor_numpy(tmp_path, model):
    path = tmp_path / "a.pt"
    torch.save(model.state_dict(), path)
    script = f"import sys, steelyard; w = steelyard.weights({str(path)!r}); w.size; print('torch' in sys.modules, 'numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


DTYPES = [
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex32, torch.complex64, torch.complex128),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu),
]


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental:UserWarning")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_is_read_bit_for_bit(tmp_path, dtype):
    raw = torch.arange(1, 65, dtype=torch.uint8) if dtype != torch.bool else torch.arange(64, dtype=torch.uint8) % 2
    tensor = raw.view(dtype).reshape(2, -1) if dtype != torch.complex32 else torch.randn(2, 8).to(torch.complex64).to(dtype)
    torch.save({"w": tensor, "column": tensor[:, 1], "scalar": tensor[0, 0].clone()}, tmp_path / "a.pt")
    weights = steelyard.weights(tmp_path / "a.pt")
    assert weights["w"].dtype == str(dtype).removeprefix("torch.").replace("complex32", "complex64")
    assert_equal(weights, {"w": tensor, "column": tensor[:, 1], "scalar": tensor[0, 0]})
    if dtype == torch.complex32:
        assert weights["w"].encoding == "complex32"


def test_views_keep_their_numbers_and_ties(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "base": base,
        "again": base,
        "same": base.view(4, 6),
        "transposed": base.T,
        "part": base[1:3, ::2],
        "repeated": base[:1].expand(5, 6),
        "windows": base.reshape(-1).as_strided((5, 4), (2, 1), 3),
        "images": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "empty": torch.zeros(0, 3),
    }
    torch.save(tensors, tmp_path / "a.pt")
    weights = steelyard.weights(tmp_path / "a.pt")
    assert_equal(weights, tensors)
    assert {name: w.tied for name, w in weights.items() if w.tied} == {"again": "base", "same": "base"}
    assert weights["transposed"].read(5, 9).tolist() == base.T.reshape(-1)[5:9].tolist()


def test_a_square_matrix_and_its_transpose_are_two_weights(tmp_path):
    w = torch.arange(9.0).reshape(3, 3)
    torch.save({"w": w, "wt": w.t(), "again": w, "wt again": w.t()}, tmp_path / "a.pt")
    found = steelyard.weights(tmp_path / "a.pt")
    assert {name: weight.tied for name, weight in found.items()} == {"w": None, "wt": None, "again": "w", "wt again": "wt"}
    assert found.size == 18
    same(found["wt"], w.t())


@pytest.mark.parametrize("count", [5, 7, 11, 12])
def test_a_tensor_beyond_the_elements_that_its_storage_claims_is_refused(tmp_path, count):
    """The member of the archive is long enough, but the pickle claims fewer elements."""
    base = torch.arange(12.0)
    torch.save({"w": base.reshape(3, 4), "part": base[6:10]}, tmp_path / "a.pt")
    data = rewritten(tmp_path / "a.pt", lambda pickle: pickle.replace(b"K\x0ct", b"K%ct" % count))
    (tmp_path / "b.pt").write_bytes(data)
    found = steelyard.weights(tmp_path / "b.pt")
    for name, last in {"w": 12, "part": 10}.items():
        if last <= count:
            same(found[name], {"w": base.reshape(3, 4), "part": base[6:10]}[name])
        else:
            with pytest.raises(FormatError, match=f"ends at element {last} of a storage that has {count}"):
                found[name].numpy()


def rewritten(path, change):
    """Return an archive of torch with another pickle in it."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name)) if name.endswith("data.pkl") else old.read(name))
    return out.getvalue()


def test_conjugate_and_negative_views_are_applied(tmp_path):
    z = torch.randn(3, dtype=torch.complex64)
    for tensors in ({"z": z, "conj": z.conj(), "both": torch._neg_view(z.conj())}, {"neg": z.conj().imag}):
        torch.save(tensors, tmp_path / "a.pt")
        assert_equal(steelyard.weights(tmp_path / "a.pt"), tensors)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning", "ignore:Sparse invariant checks")
@pytest.mark.parametrize("layout", ["coo", "csr", "csc", "bsr", "bsc"])
def test_sparse_tensors_are_written_out(tmp_path, layout):
    dense = torch.zeros(6, 8)
    dense[1, 2], dense[4, 7], dense[5, 0] = 1.5, -2.0, 3.0
    make = {"coo": dense.to_sparse, "csr": dense.to_sparse_csr, "csc": dense.to_sparse_csc}
    sparse = make[layout]() if layout in make else getattr(dense, f"to_sparse_{layout}")((2, 4))
    torch.save({"w": sparse}, tmp_path / "a.pt")
    weight = steelyard.weights(tmp_path / "a.pt")["w"]
    same(weight, dense)
    assert weight.encoding == f"sparse_{layout}"


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_a_sparse_tensor_that_would_fill_the_memory_is_refused(tmp_path):
    torch.save({"w": torch.sparse_coo_tensor([[5], [7]], [1.0], (1 << 20, 1 << 20))}, tmp_path / "a.pt")
    weight = steelyard.weights(tmp_path / "a.pt")["w"]
    assert weight.shape == (1 << 20, 1 << 20)
    with pytest.raises(FormatError, match="would take"):
        weight.numpy()


@pytest.mark.filterwarnings("ignore:.*quantiz.*", "ignore:torch.ao:DeprecationWarning")
def test_quantised_tensors_are_listed_as_integers_with_their_scale(tmp_path):
    values = torch.randn(3, 4)
    whole = torch.quantize_per_tensor(values, 0.1, 3, torch.quint8)
    rows = torch.quantize_per_channel(values, torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0, 1, 2]), 0, torch.qint8)
    torch.save({"whole": whole, "rows": rows}, tmp_path / "a.pt")
    weights = steelyard.weights(tmp_path / "a.pt")
    wanted = {
        "whole": whole.int_repr(),
        "whole.scale": torch.tensor(whole.q_scale(), dtype=torch.float64),
        "whole.zero_point": torch.tensor(whole.q_zero_point()),
        "rows": rows.int_repr(),
        "rows.scales": rows.q_per_channel_scales(),
        "rows.zero_points": rows.q_per_channel_zero_points(),
    }
    assert_equal(weights, wanted)
    assert weights["whole"].encoding == "quint8"
    assert weights["rows"].encoding == "qint8 along axis 0"


class Tagged(torch.Tensor):
    """A subclass of a tensor, which torch saves with its class."""


def test_parameters_subclasses_and_numpy_arrays_are_found(tmp_path):
    parameter = nn.Parameter(torch.randn(2, 3))
    parameter.note = "kept"
    tagged = torch.randn(3).as_subclass(Tagged)
    array = np.arange(6.0).reshape(2, 3)
    torch.save({"p": parameter, "t": tagged, "a": array, "f": np.asfortranarray(array)}, tmp_path / "a.pt")
    weights = steelyard.weights(tmp_path / "a.pt")
    assert list(weights) == ["p", "t", "a", "f"]
    same(weights["p"], parameter)
    same(weights["t"], tagged.as_subclass(torch.Tensor))
    assert weights["p"].trainable is True
    assert weights["a"].numpy().tolist() == weights["f"].numpy().tolist() == array.tolist()


def trained(steps=2):
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    optimizer = torch.optim.Adam(net.parameters())
    for _ in range(steps):
        net(torch.randn(5, 4)).square().sum().backward()
        optimizer.step()
    return net, optimizer


def test_the_weights_of_a_checkpoint_are_found_without_its_key(tmp_path):
    net, optimizer = trained()
    lightning = {
        "epoch": 3,
        "global_step": 40,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": net.state_dict(),
        "loops": {"fit_loop": {"progress": torch.tensor(3)}},
        "callbacks": {"EarlyStopping": {"best_score": torch.tensor(0.5), "path": pathlib.PurePosixPath("x")}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hyper_parameters": types.SimpleNamespace(width=3),
    }
    torch.save(lightning, tmp_path / "a.ckpt")
    weights = steelyard.weights(tmp_path / "a.ckpt")
    assert_equal(weights, net.state_dict())
    assert weights.meta["epoch"] == 3
    assert weights.meta["global_step"] == 40
    assert weights.meta["pytorch-lightning_version"] == "2.5.0"
    assert not weights.audit.findings
    everything = steelyard.weights(tmp_path / "a.ckpt", scope="all")
    same(everything["optimizer_states.0.state.0.exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])
    same(everything["state_dict.2.bias"], net[2].bias)


@pytest.mark.parametrize("key", ["model", "model_state_dict", "net", "state_dict", "ema"])
def test_a_dict_around_one_model_is_passed_through(tmp_path, key):
    net, optimizer = trained()
    torch.save({key: net.state_dict(), "optimizer": optimizer.state_dict(), "loss": torch.tensor(0.5)}, tmp_path / "a.pt")
    assert_equal(steelyard.weights(tmp_path / "a.pt"), net.state_dict())


def test_two_models_are_both_listed_under_their_keys(tmp_path):
    net, _ = trained()
    other, optimizer = trained()
    torch.save(
        {"generator": net.state_dict(), "critic": other.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "a.pt"
    )
    names = list(steelyard.weights(tmp_path / "a.pt"))
    assert names == [f"{key}.{name}" for key in ("generator", "critic") for name in net.state_dict()]
    torch.save({"model": net, "ema": copy.deepcopy(net)}, tmp_path / "b.pt")
    assert list(steelyard.weights(tmp_path / "b.pt"))[::4] == ["model.0.weight", "ema.0.weight"]


def test_the_state_of_training_is_left_out_of_a_file_of_several_models(tmp_path):
    net, optimizer = trained()
    beside = {"rng_state": torch.get_rng_state(), "scaler": {"scale": torch.tensor(1.0)}, "optimizer": optimizer.state_dict()}
    torch.save({"model": net.state_dict(), "ema": net.state_dict(), "epoch": torch.tensor(1), **beside}, tmp_path / "a.pt")
    assert {name.partition(".")[0] for name in steelyard.weights(tmp_path / "a.pt")} == {"model", "ema"}


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature", "ignore:The PyTorch API of nested tensors")
def test_lazy_and_meta_tensors_are_listed(tmp_path):
    torch.save({"lazy": nn.LazyLinear(3), "meta": torch.ones(2, device="meta")}, tmp_path / "a.pt")
    weights = steelyard.weights(tmp_path / "a.pt")
    for name, reason in (("lazy.weight", "has no shape yet"), ("meta", "meta device")):
        with pytest.raises(FormatError, match=reason):
            weights[name].numpy()


def test_an_optimizer_s_file_lists_its_state(tmp_path):
    _, optimizer = trained()
    torch.save(optimizer.state_dict(), tmp_path / "a.pt")
    assert "state.0.exp_avg" in steelyard.weights(tmp_path / "a.pt")


def test_a_bare_tensor_has_no_name_and_a_list_has_places(tmp_path):
    torch.save(torch.arange(3), tmp_path / "a.pt")
    assert list(steelyard.weights(tmp_path / "a.pt")) == [""]
    torch.save([torch.arange(3), (torch.arange(2),)], tmp_path / "b.pt")
    assert list(steelyard.weights(tmp_path / "b.pt")) == ["0", "1.0"]


def test_a_dict_without_tensors_has_no_weights_and_its_description_in_meta(tmp_path):
    torch.save(collections.OrderedDict(a=1), tmp_path / "a.pt")
    weights = steelyard.weights(tmp_path / "a.pt")
    assert len(weights) == 0
    assert weights.meta["holds"] == "a dict of 1 members"


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning", "ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:torch.tensor results are registered as constants")
@pytest.mark.parametrize("way", ["script", "trace"])
def test_torchscript_gives_its_state_dict_and_its_constants(tmp_path, way):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3))
            self.scale = nn.Parameter(torch.rand(1))
            self.register_buffer("shift", torch.rand(1))

        def forward(self, x):
            return self.body(x) * self.scale + self.shift + torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1)

    module = Scaled().eval()
    compiled = torch.jit.script(module) if way == "script" else torch.jit.trace(module, torch.randn(1, 2, 5))
    torch.jit.save(compiled, tmp_path / "a.pt")
    weights = steelyard.weights(tmp_path / "a.pt")
    assert weights.meta["format"] == "TorchScript"
    assert_equal(weights, module.state_dict())
    if way == "trace":
        everything = steelyard.weights(tmp_path / "a.pt", scope="all")
        assert any(
            np.array_equal(w.numpy().reshape(-1), [1, 2, 3]) for name, w in everything.items() if name.startswith("constants")
        )


def test_big_endian_files_are_read(tmp_path):
    import zipfile

    tensor = torch.randn(3, 4)
    torch.save({"w": tensor}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as old, zipfile.ZipFile(tmp_path / "b.pt", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            content = (
                b"big"
                if name.endswith("byteorder")
                else np.frombuffer(content, "<f4").astype(">f4").tobytes()
                if "/data/" in name
                else content
            )
            new.writestr(name, content)
    same(steelyard.weights(tmp_path / "b.pt")["w"], tensor)


def test_a_repacked_file_is_read_and_its_checksums_are_compared(tmp_path):
    import zipfile

    tensor = torch.randn(300, 400)
    torch.save({"w": tensor, "b": torch.ones(3)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as old, zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    same(steelyard.weights(tmp_path / "b.pt")["w"], tensor)
    assert steelyard.weights(tmp_path / "b.pt")["w"].read(7, 9).tolist() == tensor.reshape(-1)[7:9].tolist()
    data = bytearray((tmp_path / "a.pt").read_bytes())
    data[data.index(tensor.numpy().tobytes()) + 1000] ^= 1
    (tmp_path / "c.pt").write_bytes(data)
    weights = steelyard.weights(tmp_path / "c.pt")
    with pytest.raises(FormatError, match="checksum"):
        weights["w"].numpy()
    with pytest.raises(FormatError, match="checksum"):
        for _ in weights["w"].blocks(1000):
            pass
    assert weights["b"].numpy().tolist() == [1, 1, 1]


def test_a_written_file_loads_in_torch_with_weights_only(tmp_path):
    tied = np.arange(6, dtype="float32").reshape(2, 3)
    tensors = {
        str(dtype): torch.arange(1, 17, dtype=torch.uint8).view(dtype)
        for dtype in DTYPES
        if dtype not in (torch.bool, torch.complex32)
    }
    tensors |= {
        "flag": torch.tensor([True, False]),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 4),
        "t": torch.randn(3, 4).T,
    }
    weights = steelyard.weights({"a": tied, "b": tied, **tensors})
    steelyard.save(weights, tmp_path / "a.pt")
    loaded = torch.load(tmp_path / "a.pt", weights_only=True, mmap=True)
    assert list(loaded) == list(weights)
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert as_bytes(loaded[name]) == as_bytes(tensor)
    assert loaded["a"].data_ptr() == loaded["b"].data_ptr()
    again = steelyard.weights(tmp_path / "a.pt")
    assert [(w.name, w.role, w.axes, w.tied) for w in again.values()] == [
        (w.name, w.role, w.axes, w.tied) for w in weights.values()
    ]


def test_a_module_takes_a_written_file_and_predicts_the_same(tmp_path):
    net, _ = trained()
    steelyard.save(net, tmp_path / "a.pt")
    other, _ = trained()
    other.load_state_dict(torch.load(tmp_path / "a.pt", weights_only=True))
    x = torch.randn(4, 4)
    assert_close(net(x).detach(), other(x).detach())
    assert steelyard.weights(tmp_path / "a.pt")["0.weight"].axes == "out in"


def test_a_type_that_torch_lacks_is_refused_before_a_file_is_made(tmp_path):
    import ml_dtypes

    with pytest.raises(FormatError, match="float8_e4m3b11fnuz"):
        steelyard.save({"w": np.zeros(3, ml_dtypes.float8_e4m3b11fnuz)}, tmp_path / "a.pt")
    assert not list(tmp_path.iterdir())


def test_the_format_of_a_file_is_recognised_by_content(tmp_path, model):
    torch.save(model.state_dict(), tmp_path / "model.dat")
    assert format_of(open_path(tmp_path / "model.dat")).__name__.endswith("formats.torch")


# the graph of a module that was saved whole


class Branches(nn.Module):
    """A module whose forward method a file does not show."""

    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Linear(4, 2), nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def forward(self, x):
        return self.head(self.body(x) + x)


def facts(graph):
    listed = [(layer.name, layer.kind, layer.class_name, layer.settings, layer.inputs, layer.calls) for layer in graph.layers]
    return listed, graph.is_execution_order, graph.is_sequential, graph.input_names, graph.channels


def whole_modules():
    relu = nn.ReLU()
    hooked = nn.Sequential(nn.Linear(2, 2))
    hooked.register_forward_pre_hook(print)
    return {
        "cnn": nn.Sequential(
            nn.Conv2d(3, 8, (3, 5), stride=2, padding=1, groups=1, bias=False),
            nn.Sequential(
                nn.BatchNorm2d(8, eps=1e-3), nn.LeakyReLU(0.3), nn.MaxPool2d(2, ceil_mode=True), nn.AdaptiveAvgPool2d(1)
            ),
            *(
                nn.ConvTranspose2d(8, 4, 2, 2),
                nn.GroupNorm(2, 4),
                nn.Upsample(scale_factor=2),
                nn.ZeroPad2d(1),
                nn.Dropout2d(0.1),
            ),
            *(nn.Flatten(), nn.Linear(4, 2), nn.GELU("tanh"), nn.Softmax(-1), nn.Unflatten(1, (2, 1))),
        ),
        "recurrent": nn.Sequential(nn.Embedding(5, 4), nn.LSTM(4, 3, 2, bidirectional=True)),
        "cells and attention": nn.ModuleDict(
            {"gru": nn.GRUCell(3, 2), "rnn": nn.RNNCell(3, 2), "att": nn.MultiheadAttention(4, 2)}
        ),
        "one activation twice": nn.Sequential(nn.Linear(2, 2), relu, nn.Linear(2, 2), relu),
        "a hook": hooked,
        "branches": Branches(),
        "one layer": nn.Linear(3, 2),
    }


@pytest.mark.parametrize("name", whole_modules())
def test_a_module_that_was_saved_whole_has_the_graph_of_the_live_one(name, tmp_path):
    net = whole_modules()[name]
    for saved in (net, {"model": net, "epoch": 3}):
        torch.save(saved, tmp_path / "net.pt")
        assert facts(steelyard.weights(tmp_path / "net.pt").graph) == facts(steelyard.weights(net).graph)
    expected = name in ("cnn", "recurrent", "one layer")
    assert steelyard.weights(tmp_path / "net.pt").graph.is_sequential is expected


def test_modules_next_to_each_other_and_state_dicts_have_no_graph(tmp_path):
    torch.save({"generator": nn.Linear(2, 2), "critic": nn.Linear(2, 1)}, tmp_path / "two.pt")
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "state.pt")
    assert steelyard.weights(tmp_path / "two.pt").graph is None
    assert steelyard.weights(tmp_path / "state.pt").graph is None


def test_a_setting_that_is_no_number_leaves_the_layer_unknown(tmp_path):
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU())
    net[0].stride = {"a": nn.Linear(1, 1)}
    torch.save(net, tmp_path / "net.pt")
    layer = steelyard.weights(tmp_path / "net.pt").graph.layers[0]
    assert (layer.kind, layer.class_name, layer.settings) == ("other", "Conv2d", {})


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_a_nested_tensor_is_one_weight_that_cannot_be_read_live_and_in_a_file(layout, tmp_path):
    nested = torch.nested.nested_tensor([torch.zeros(2), torch.ones(3)], layout=layout)
    torch.save({"w": nested, "b": torch.ones(2)}, tmp_path / "net.pt")
    for found in (steelyard.weights(tmp_path / "net.pt"), steelyard.weights({"w": nested, "b": torch.ones(2)})):
        assert list(found) == ["w", "b"]
        assert (found["w"].shape, found["w"].size, found["w"].encoding) == ((), 0, "nested")
        assert "is a nested tensor, whose parts have shapes of their own" in found.unreadable["w"]
