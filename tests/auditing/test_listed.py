"""The audit of a file that was listed: it is about what was opened, and what the listing proved is not looked for again."""

import gzip
import io
import json
import os
import pickle
import zipfile
from contextlib import nullcontext

import h5py
import joblib
import numpy as np
import pytest
from safetensors.numpy import save_file

import steelyard
from steelyard.auditing import archives, audited, pickles, plain_values
from steelyard.auditing.pickles import run_of
from steelyard.auditing.quick import would_run
from steelyard.cli import main
from steelyard.codecs.hdf5 import reading
from steelyard.commands import judging
from steelyard.core.net_facts import found_in
from steelyard.errors import FormatError
from steelyard.storage.opening import open_source


class Harmful:
    def __reduce__(self):
        return os.system, ("true",)


def archive(path, **members):
    """Write an archive of arrays, and of members as they are."""
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            if isinstance(content, bytes):
                file.writestr(name, content)
                continue
            with file.open(f"{name}.npy", "w") as member:
                np.save(member, content, allow_pickle=True)
    return str(path)


def inner_archive(tmp_path):
    with open(archive(tmp_path / "inner.npz", a=np.ones(3), b=np.array([Harmful()], object)), "rb") as file:
        return file.read()


HARMFUL = {
    "an array of objects": lambda _: np.array([Harmful()], object),
    "a pickle": lambda _: pickle.dumps(Harmful()),
    "a pickle after the numbers": lambda _: b"\x93NUMPY" + bytes(10) + pickle.dumps(Harmful()),
    "an archive whose members have the names of arrays": inner_archive,
}


@pytest.mark.parametrize("kind", HARMFUL)
def test_members_that_are_no_arrays_of_numbers_are_looked_into(tmp_path, kind):
    path = archive(tmp_path / "net.npz", a=np.ones(3), b=np.ones(2), odd=HARMFUL[kind](tmp_path))
    found = would_run(path, steelyard.weights(path))
    assert found == would_run(path)
    assert any("system" in what for what in found) or kind == "a pickle after the numbers"  # NumPy refuses its header


def test_the_directory_and_arrays_of_numbers_are_not_read_again(tmp_path, monkeypatch):
    path = archive(tmp_path / "net.npz", **{f"layers.{nth}.w": np.ones(4) for nth in range(5)})
    listed = steelyard.weights(path)
    for name in ("directory", "member_source"):
        monkeypatch.setattr(archives, name, lambda *_, **__: pytest.fail("read again"))
    assert would_run(path, listed) == would_run(path, listed.select("*.3.*")) == []


def test_a_tree_of_hdf5_is_not_read_again_and_what_it_holds_is_found_as_before(tmp_path, monkeypatch):
    layer = {"class_name": "Lambda", "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}}}
    with h5py.File(tmp_path / "net.h5", "w") as file:
        file["a"], file["b"] = np.ones(3), h5py.ExternalLink("other.h5", "c")
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}})
    path = str(tmp_path / "net.h5")
    anew = would_run(path)
    listed = steelyard.weights(path)
    monkeypatch.setattr(reading, "open_hdf5", lambda *_: pytest.fail("read again"))
    assert would_run(path, listed) == anew
    assert any("compiled Python code" in what for what in anew)
    assert any("external link" in what for what in anew)


def described(path, **metadata):
    """Write a safetensors file of one weight with this metadata."""
    save_file({"w": np.ones(3, "f4")}, path, metadata=metadata)
    return str(path)


def test_a_header_of_safetensors_is_not_decoded_again_and_its_texts_are_judged_as_before(tmp_path, monkeypatch):
    path = described(tmp_path / "net.safetensors", note="import os; os.system('ls')", chat="{{ ''.__class__.__mro__ }}")
    anew = steelyard.audit(path)
    assert {finding.rule for finding in anew.findings} == {"metadata-code", "template-internals"}
    listed = steelyard.weights(path)
    monkeypatch.setattr(plain_values, "decoded", lambda *_: pytest.fail("decoded again"))
    assert listed.audit.to_dict() == anew.to_dict()


@pytest.mark.parametrize("name", ["net.npz", "net.h5", "net.rds", "net.safetensors"])
def test_the_audit_of_weights_finds_what_that_of_their_file_finds(tmp_path, name):
    path = str(tmp_path / name)
    steelyard.save({"fc": {"weight": np.ones((3, 2), "f4"), "bias": np.zeros(3, "f4")}}, path)
    if name == "net.npz":
        archive(path, a=np.ones(3), odd=np.array([Harmful()], object))
    found = steelyard.weights(path).audit
    assert [each.to_dict() for each in found.findings] == [each.to_dict() for each in steelyard.audit(path).findings]
    assert bool(found.would_run) == (name == "net.npz")


def test_what_was_found_in_a_file_stands_neither_for_the_archive_around_it_nor_for_one_beside_it(tmp_path):
    inner = archive(tmp_path / "inner.npz", a=np.ones(3))
    with open(inner, "rb") as file, zipfile.ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.writestr("model.npz", file.read())
        outer.writestr("notes.txt", pickle.dumps(Harmful()))
    path = str(tmp_path / "outer.zip")
    listed = steelyard.weights(path)
    assert would_run(path, listed) == would_run(path) != []
    assert listed.audit.would_run == steelyard.audit(path).would_run != []
    folder = tmp_path / "folder"
    folder.mkdir()
    described(folder / "model.safetensors", note="a net")
    described(folder / "adapter_model.safetensors", note="import os; os.system('ls')")
    with pytest.warns(steelyard.errors.LeftOutWarning):
        listed = steelyard.weights(folder)
    assert [finding.rule for finding in listed.audit.findings] == ["metadata-code"]


def test_the_file_that_was_opened_is_audited_and_not_the_one_that_took_its_place(tmp_path):
    path = archive(tmp_path / "net.npz", a=np.ones(3), odd=np.array([Harmful()], object))
    listed = steelyard.weights(path)
    os.replace(archive(tmp_path / "other.npz", a=np.ones(3)), path)
    assert any("system" in what for what in would_run(path, listed))
    assert would_run(path) == []


def test_headers_of_many_small_members_are_read_in_pages(tmp_path, monkeypatch):
    path = archive(tmp_path / "net.npz", **{f"w{nth}": np.full(3, nth) for nth in range(200)})
    reads = []
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *given: reads.append(given) or preadv(*given))
    found = steelyard.weights(path)
    assert len(reads) < 50
    assert all(found[f"w{nth}"].numpy().tolist() == [nth] * 3 for nth in range(200))


def gensims():
    """Return an object of which a reader adds a reference to a file to the state, under the name of a method."""
    return b"\x80\x04cgensim.models.word2vec\nWord2Vec\n)\x81}(\x8c\x08__numpys](\x8c\x06append\x8c\x07vectorse\x8c\x01w" + (
        pickle.dumps(np.ones((2, 3)), protocol=4)[2 + 9 : -1] + b"ub."
    )


def pickled(**values):
    return pickle.dumps({"w": np.ones(3), **values}, protocol=4)


def of_joblib(**values):
    buffer = io.BytesIO()
    joblib.dump({"w": np.ones(3), **values}, buffer)
    return buffer.getvalue()


NESTED = pickle.dumps(Harmful())
PICKLES = {
    "sound": ("net.pkl", pickled(), 0),
    "a call": ("net.pkl", pickled(odd=Harmful()), 0),
    "a pickle in bytes": ("net.pkl", pickled(odd=NESTED), 0),
    "a pickle in long bytes": ("net.pkl", pickled(odd=NESTED + bytes(2000)), 0),
    "a call, compressed": ("net.pkl.gz", gzip.compress(pickled(odd=Harmful())), 0),
    "a call and an array of joblib": ("net.joblib", of_joblib(odd=Harmful()), 0),
    "an array of objects of joblib": ("net.joblib", of_joblib(odd=np.array([NESTED + bytes(2000)], object)), 1),
    "a second pickle": ("net.pkl", pickled() + NESTED, 1),
    "an odd name": ("net.odd", pickle.dumps({"w": np.ones(3), "odd": Harmful()}, protocol=0), 1),
    "a method that the reader adds": ("net.pkl", gensims(), 0),
}
"""The names and contents of files, and how often the audit runs a pickle from its first byte, as joblib does."""


@pytest.mark.filterwarnings("ignore::steelyard.errors.IncompleteWarning")
@pytest.mark.parametrize("kind", PICKLES)
def test_a_pickle_that_is_judged_as_it_is_read_is_not_run_again_and_the_same_is_found(tmp_path, monkeypatch, kind):
    name, content, runs = PICKLES[kind]
    path = tmp_path / name
    path.write_bytes(content)
    with judging():
        listed = steelyard.weights(str(path))
    whole, quick = steelyard.audit(str(path)), would_run(str(path))
    assert listed.audit.to_dict() == whole.to_dict()
    begun = []
    monkeypatch.setattr(pickles, "run_of", lambda source, place: begun.append(place.is_guess) or run_of(source, place))
    assert would_run(str(path), listed) == quick
    assert begun.count(False) == runs
    assert any("system" in what for what in quick) == (kind not in ("sound", "a method that the reader adds"))


def test_a_reader_refuses_what_an_audit_would_pass_over_though_its_pickle_is_judged(tmp_path):
    state_of_a_list = b"\x80\x04]}b."
    (tmp_path / "net.pkl").write_bytes(state_of_a_list)
    messages = []
    for block in (nullcontext(), judging()):
        with block, pytest.raises(FormatError) as refused:
            steelyard.weights(str(tmp_path / "net.pkl"))
        messages.append(str(refused.value))
    assert messages[0] == messages[1]
    assert "BUILD is applied to a list" in messages[0]


def test_an_audit_that_may_not_spend_what_a_run_has_spent_runs_the_pickle_itself(tmp_path):
    path = tmp_path / "net.pkl"
    path.write_bytes(pickled(odd=[Harmful() for _ in range(400)]))
    with judging():
        listed = steelyard.weights(str(path))
    with steelyard.limits.allow(MEMORY=30_000, MEMORY_PER_BYTE=1):
        assert audited(open_source(str(path)), found_in(listed)).to_dict() == steelyard.audit(str(path)).to_dict()
        assert steelyard.audit(str(path)).not_looked_into


def test_a_listing_runs_a_pickle_once(tmp_path, monkeypatch, capsys):
    for name in ("a.pkl", "b.pkl"):
        (tmp_path / name).write_bytes(pickled(odd=Harmful()))
    monkeypatch.setattr(pickles, "run_of", lambda *_: pytest.fail("run again"))
    for paths in ([str(tmp_path / "a.pkl")], [str(tmp_path)]):  # weights, and a row for each file
        main(["ls", *paths])
        assert "would run posix.system" in capsys.readouterr().err
