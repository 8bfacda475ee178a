"""Files and folders of stores, here of fsspec's own file system in memory."""

import json
import subprocess
import sys

import fsspec
import numpy as np
import pytest

import steelyard
from steelyard import sizes
from steelyard.errors import FileMissingError, FormatError, IncompleteWarning, LeftOutWarning, MissingExtraError, UnsafeFileError
from steelyard.storage.remote import stores

NUMBERS = {"model.layers.0.mlp.up_proj.weight": np.arange(100_000.0).reshape(500, 200), "model.norm.weight": np.ones(3)}


@pytest.fixture
def store():
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


@pytest.fixture
def folder(store, tmp_path):
    """A folder with a model in two shards, their index, and a config."""
    steelyard.save(NUMBERS, tmp_path / "model.safetensors", shard_size=400_000)
    for path in tmp_path.iterdir():
        store.pipe(f"/org/model/{path.name}", path.read_bytes())
    store.pipe("/org/model/config.json", json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}).encode())
    return "memory://org/model"


@pytest.fixture
def url(store, tmp_path):
    steelyard.save({"w": np.arange(100_000.0), "b": np.ones(3)}, tmp_path / "net.safetensors")
    store.pipe("/folder/net.safetensors", (tmp_path / "net.safetensors").read_bytes())
    return "memory://folder/net.safetensors"


def test_weights_at_a_url_are_those_of_the_file(url):
    weights = steelyard.weights(url)
    assert list(weights) == ["w", "b"]
    assert weights["w"].numpy().tolist() == list(range(100_000))


def test_listing_and_a_run_fetch_little(url, monkeypatch):
    fetched = []
    kind = type(fsspec.filesystem("memory"))
    cat = kind.cat_file

    def counted(self, path, start=None, end=None, **settings):
        fetched.append(end - start)
        return cat(self, path, start=start, end=end, **settings)

    monkeypatch.setattr(kind, "cat_file", counted)
    weights = steelyard.weights(url)
    assert fetched == [sizes.REMOTE_FIRST_BYTES]
    assert weights["w"].read(50_000, 50_002).tolist() == [50_000, 50_001]
    assert fetched == [sizes.REMOTE_FIRST_BYTES, sizes.REMOTE_HEAD_BYTES]


def test_a_folder_is_the_model_of_its_index_with_what_the_config_says(folder):
    weights = steelyard.weights(folder)
    assert {name: weight.numpy().tolist() for name, weight in weights.items()} == {n: a.tolist() for n, a in NUMBERS.items()}
    assert weights.meta["config.json"]["model_type"] == "llama"
    assert weights.remote


def test_a_folder_of_a_pipeline_is_its_modules(store, tmp_path):
    steelyard.save({"proj.weight": np.ones((2, 3))}, tmp_path / "m.safetensors")
    index = {
        "_class_name": "Pipeline",
        "unet": ["diffusers", "UNet"],
        "scheduler": ["diffusers", "DDIM"],
        "vae": ["diffusers", "VAE"],
    }
    store.pipe("/pipe/model_index.json", json.dumps(index).encode())
    store.pipe("/pipe/scheduler/scheduler_config.json", b"{}")
    for module in ("unet", "vae"):
        store.pipe(f"/pipe/{module}/config.json", b"{}")
    store.pipe("/pipe/unet/diffusion_pytorch_model.safetensors", (tmp_path / "m.safetensors").read_bytes())
    with pytest.warns(IncompleteWarning, match="lacks the weights of the module in vae"):
        weights = steelyard.weights("memory://pipe")
    assert list(weights) == ["unet/proj.weight"]
    assert weights["unet/proj.weight"].numpy().tolist() == [[1, 1, 1], [1, 1, 1]]


def test_a_folder_with_several_models_lists_them(store, folder):
    store.pipe("/org/model/other.safetensors", b"")
    with pytest.raises(
        FormatError, match=r"memory://org/model: a folder with several models: model.safetensors.index.json, other"
    ):
        steelyard.weights(folder)


def test_weight_files_that_a_folder_leaves_out_are_named(store, folder):
    store.pipe("/org/model/other.npz", b"PK")
    with pytest.warns(LeftOutWarning, match=r"the model of this folder is model\.safetensors\.index\.json; left out other\.npz"):
        steelyard.weights(folder)


def test_a_missing_shard_in_a_folder_is_a_finding(store, folder):
    store.rm(next(path for path in store.ls("/org/model", detail=False) if "00001-of" in path))
    (finding,) = steelyard.check(folder).findings
    assert finding.kind == "missing shard"


def test_an_index_leads_out_of_no_folder(store, folder):
    store.pipe("/secret.safetensors", b"")
    store.pipe("/org/model/model.safetensors.index.json", json.dumps({"weight_map": {"w": "../../secret.safetensors"}}).encode())
    with pytest.raises(UnsafeFileError, match="leads out of the folder"):
        steelyard.weights(folder)


def test_a_pattern_is_the_files_that_match_it(store, url, capsys):
    from steelyard.cli import main

    store.pipe("/folder/other.safetensors", store.cat("/folder/net.safetensors"))
    assert main(["check", "memory://folder/*.safetensors"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3  # a line for each file, and their number
    assert main(["size", "memory://folder/*.safetensors", "--json"]) == 0
    assert [each["file"] for each in json.loads(capsys.readouterr().out)] == [
        f"memory:///folder/{name}.safetensors" for name in ("net", "other")
    ]


def test_files_of_a_store_with_two_schemes_keep_the_one_of_the_pattern(store, url, monkeypatch):
    monkeypatch.setattr(type(store), "protocol", ("mem", "memory"))  # as az and abfs
    assert stores.matching("memory://folder/*.safetensors") == ["memory:///folder/net.safetensors"]


def test_a_missing_file_is_reported(store):
    with pytest.raises(FileMissingError, match=r"memory://nowhere/x\.pt: there is no such file; is the address right"):
        steelyard.weights("memory://nowhere/x.pt")


def test_a_file_that_changes_while_it_is_read_is_an_error(url, store, monkeypatch):
    monkeypatch.setattr(stores, "CHECKED_S", 0.0)
    weights = steelyard.weights(url)
    store.pipe("/folder/net.safetensors", store.cat("/folder/net.safetensors") + b"\0")
    with pytest.raises(FormatError, match=r"has changed since it was opened; open it again"):
        weights["w"].numpy()


def test_what_goes_wrong_in_a_store_is_one_line_without_its_secrets(url, monkeypatch):
    weights = steelyard.weights(url)

    def fails(self, path, **_):
        raise RuntimeError("line one\nline two")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", fails)
    with pytest.raises(FormatError, match=r"line one\\u000aline two; the bytes 131,072 to \d+,\d+ cannot be fetched") as caught:
        weights["w"].numpy()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("az", "adlfs"), ("hf", "huggingface_hub")])
def test_a_scheme_whose_package_is_missing_names_it(scheme, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, scheme, raising=False)
    with pytest.raises(MissingExtraError, match=rf"{scheme}:// needs a package: pip install {package}"):
        steelyard.weights(f"{scheme}://bucket/net.pt")


def test_an_unknown_scheme_is_an_error_in_one_line():
    with pytest.raises(FormatError, match=r"gopher://x/y\.pt: cannot be opened: Protocol not known: gopher"):
        steelyard.weights("gopher://x/y.pt")


@pytest.mark.parametrize("url", ["https://example.org/x.pt", "s3://bucket/x.pt"])
def test_without_fsspec_one_line_names_the_extra(url):
    code = f"import sys; sys.modules['fsspec'] = None; import steelyard; steelyard.weights('{url}')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1].endswith('a URL needs an extra: pip install "steelyard[remote]"')
