"""Distributed checkpoints of PyTorch, against the state dict that torch itself loads from them."""

import json
import pickle
import shutil
import warnings

import carried
import numpy as np
import pytest
import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

import steelyard
from steelyard.cli import main
from steelyard.errors import FormatError, IncompleteWarning, UnsafeFileError
from steelyard.storage import source as sources

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")


@pytest.fixture(scope="module")
def made():
    return carried.folder("dcp")


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """The state dict that torch loads from the checkpoint of so many processes, in one file."""
    folder = tmp_path_factory.mktemp("whole")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch
        for size in (1, 2, 4):
            dcp_to_torch_save(str(made / f"zip{size}"), folder / f"{size}.pt")
    return folder


@pytest.fixture
def four(made, tmp_path):
    """A copy of the checkpoint of four processes, which may be changed."""
    return shutil.copytree(made / "zip4", tmp_path / "four")


def same(found, expected):
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.numpy().tobytes() == expected.numpy().tobytes()


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("writer", ["zip", "st"])  # torch itself does not load the latter
@pytest.mark.parametrize("scope", ["model", "all"])
def test_it_is_listed_and_read_as_the_file_of_torch_with_the_same_state_dict(made, whole, size, writer, scope):
    expected = steelyard.weights(whole / f"{size}.pt", scope=scope)
    found = steelyard.weights(made / f"{writer}{size}", scope=scope)
    assert {*found} == {*expected}
    assert [*found] == [*steelyard.weights(whole / "1.pt", scope=scope)]  # of several processes, torch loads another order
    assert {name: (weight.role, weight.axes) for name, weight in found.items()} == {
        name: (weight.role, weight.axes) for name, weight in expected.items()
    }
    for name, weight in found.items():
        same(weight, expected[name])
    assert found.meta["step"] == 17


def test_a_part_of_a_weight_reads_only_the_chunks_that_it_touches(made, monkeypatch):
    weight = steelyard.weights(made / "zip4")["model.0.weight"]
    expected = weight.numpy()
    files, fill = [], sources._File.fill

    def noted(file, offset, buffer):
        files.append(file.name.rpartition("/")[2])
        fill(file, offset, buffer)

    monkeypatch.setattr(sources._File, "fill", noted)
    again = steelyard.weights(made / "zip4")["model.0.weight"]
    files.clear()
    assert np.array_equal(again[4], expected[4])
    assert {*files} == {"__2_0.distcp"}  # rows 4 and 5 of 7 over four processes
    assert np.array_equal(again[1:5, 2], expected[1:5, 2])
    assert {*files} == {"__0_0.distcp", "__1_0.distcp", "__2_0.distcp"}


def test_chunks_along_several_axes_are_joined(tmp_path):
    from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex

    whole = torch.arange(60.0).reshape(5, 4, 3)
    dcp.save({"w": whole, "other": torch.ones(2)}, checkpoint_id=tmp_path, no_dist=True)
    path = tmp_path / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    info = metadata.storage_data.pop(next(key for key in metadata.storage_data if key.fqn == "w"))
    boxes = {(0, 0, 0): (2, 4, 3), (2, 0, 0): (3, 1, 3), (2, 1, 0): (1, 3, 3), (3, 1, 0): (2, 3, 1), (3, 1, 1): (2, 3, 2)}
    data = b""
    for at, lengths in boxes.items():
        torch.save(whole[tuple(slice(a, a + n) for a, n in zip(at, lengths, strict=True))].clone(), tmp_path / "item")
        item = (tmp_path / "item").read_bytes()
        kept = type(info)("__1_0.distcp", len(data), len(item))
        metadata.storage_data[MetadataIndex("w", torch.Size(at))] = kept
        data += item
    (tmp_path / "__1_0.distcp").write_bytes(data)
    metadata.state_dict_metadata["w"].chunks = [ChunkStorageMetadata(torch.Size(a), torch.Size(n)) for a, n in boxes.items()]
    path.write_bytes(pickle.dumps(metadata))
    read = steelyard.weights(tmp_path)["w"]
    assert np.array_equal(read.numpy(), whole.numpy())
    assert np.array_equal(read[1:4, ::2, 1:], whole.numpy()[1:4, ::2, 1:])
    for at in range(0, 60, 7):
        assert read.read(at, min(at + 11, 60)).tolist() == [*range(at, min(at + 11, 60))]
    metadata.state_dict_metadata["w"].chunks[1] = ChunkStorageMetadata(torch.Size((2, 0, 0)), torch.Size((3, 2, 3)))
    path.write_bytes(pickle.dumps(metadata))
    assert "do not cover it, each element once" in str(steelyard.weights(tmp_path).unreadable["w"])


def test_a_save_that_was_not_finished_is_refused(four):
    (four / ".metadata").rename(four / ".metadata.tmp")
    with pytest.raises(FormatError, match=r"without \.metadata, which is written last: the save was not finished, and \.meta"):
        steelyard.weights(four)


def test_a_missing_file_is_named_and_so_are_the_weights_in_it(four, capsys):
    (four / "__3_0.distcp").unlink()
    with pytest.warns(IncompleteWarning, match=r"lacks the file '__3_0\.distcp', which has \d+ of its items or parts of them"):
        found = steelyard.weights(four)
    assert "'model.0.weight' is in '__3_0.distcp', which is missing in the folder" in found.unreadable["model.0.weight"]
    assert "model.3.bias" not in found.unreadable  # three rows do not reach the fourth process
    assert main(["check", str(four)]) != 0
    assert "__3_0.distcp" in capsys.readouterr().out


def test_a_weight_in_a_file_that_was_cut_off_is_refused(four):
    path = four / "__2_0.distcp"
    path.write_bytes(path.read_bytes()[:3000])
    refusal = steelyard.weights(four).unreadable["model.0.weight"]
    assert "'model.0.weight' needs byte " in refusal
    assert refusal.endswith(" of '__2_0.distcp', which has 3,000 (partial copy?)")


def test_part_and_metadata_lead_to_the_whole(made):
    with pytest.raises(FormatError, match=r"is a part of a PyTorch distributed checkpoint; pass its folder"):
        steelyard.weights(made / "zip2" / "__0_0.distcp")
    assert [*steelyard.weights(made / "zip2" / ".metadata")] == [*steelyard.weights(made / "zip2")]


def test_a_file_outside_of_the_folder_is_not_opened(four):
    path = four / ".metadata"
    path.write_bytes(path.read_bytes().replace(b"__1_0.distcp", b"../../a.dist"))
    with pytest.raises(UnsafeFileError, match="leads out of the folder"):
        steelyard.weights(four)


def test_metadata_runs_no_code(tmp_path):
    class Bad:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    (tmp_path / "__0_0.distcp").write_bytes(b"")
    (tmp_path / ".metadata").write_bytes(pickle.dumps({"torch.distributed.checkpoint.metadata": Bad()}))
    with pytest.raises(FormatError, match="lacks the tables of items"):
        steelyard.weights(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_chunks_of_the_writer_for_the_hub_are_joined_as_torch_joins_them(made, size):
    expected = steelyard.weights(made / f"joined{size}")  # which torch joined; the chunks in its folder are left alone
    found = steelyard.weights(made / f"hf{size}")
    assert {*found} == {*expected}
    for name, weight in found.items():
        same(weight, expected[name])
    assert {*steelyard.weights(made / f"joined{size}" / "sharded")} == {*expected}


def test_chunks_for_the_hub_of_some_processes_never_pass_for_the_whole(made, tmp_path):
    folder = shutil.copytree(made / "hf4", tmp_path / "hf")
    with pytest.warns(IncompleteWarning, match="has the chunks of process 2 of a distributed checkpoint alone"):
        steelyard.weights(folder / "shard-00002-model-00001-of-00001.safetensors")
    (folder / "shard-00002-model-00001-of-00001.safetensors").unlink()
    with pytest.warns(IncompleteWarning, match="lacks the file of process 2"):
        assert "do not cover it" in steelyard.weights(folder).unreadable["0.weight"]


def test_a_checkpoint_of_megatron_has_what_its_common_file_has(tmp_path):
    state = {"decoder.final.weight": torch.ones(3), "optimizer.state.exp_avg.decoder.final.weight": torch.zeros(3)}
    dcp.save(
        state,
        storage_writer=dcp.FileSystemWriter(tmp_path),
        planner=dcp.DefaultSavePlanner(flatten_state_dict=False),
        no_dist=True,
    )
    torch.save({"iteration": 7, "args": {"hidden": 3}, "mean": torch.ones(2)}, tmp_path / "common.pt")
    (tmp_path / "metadata.json").write_text(json.dumps({"sharded_backend": "torch_dist", "common_backend": "torch"}))
    found = steelyard.weights(tmp_path)
    assert {name: weight.numpy().tolist() for name, weight in found.items()} == {
        "decoder.final.weight": [1.0, 1.0, 1.0],
        "mean": [1.0, 1.0],
    }
    assert found.meta["iteration"] == 7
    assert "optimizer.state.exp_avg.decoder.final.weight" in steelyard.weights(tmp_path, scope="all")


def test_it_converts_to_a_file_that_other_libraries_read(made, tmp_path):
    assert main(["convert", str(made / "st4"), str(tmp_path / "x.safetensors")]) == 0
    loaded = safetensors.torch.load_file(tmp_path / "x.safetensors")
    for name, weight in steelyard.weights(made / "zip1").items():
        assert torch.equal(loaded[name], weight.to_torch())
