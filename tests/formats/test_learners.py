"""fastai's Learners and gensim's nets: the scope "model" is the net alone; everything else is in scope "all"."""

import subprocess
import sys

import carried
import numpy as np
import pytest
import torch

import steelyard

MAKE = """if True:
    import sys, types
    import torch

    def made(module, name):
        parts = module.split(".")
        for count in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:count]), types.ModuleType(".".join(parts[:count])))
        kind = type(name, (), {"__module__": module})
        setattr(sys.modules[module], name, kind)
        return kind

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    parts = {"dls": {"mean": torch.ones(1, 3)}, "model": net, "loss_func": torch.nn.CrossEntropyLoss(torch.ones(2))}
    parts["opt"] = {"state": [{"grad_avg": torch.zeros(2, 3)}], "params": list(net.parameters())}
    learner = made("fastai.tabular.learner", "TabularLearner")()
    learner.__dict__.update(parts)
    torch.save(learner, "export.pkl")
    torch.save({**parts, "cls": made("fastai.basic_train", "Learner")}, "old.pkl")
    other = made("mine", "TabularLearner")()
    other.__dict__.update(parts)
    torch.save(other, "other.pkl")
    torch.save(net.state_dict(), "net.pt")
    torch.save({"model": net.state_dict(), "opt": {"state": [{"grad_avg": torch.zeros(2, 3)}]}}, "saved.pth")
    torch.save({"state_dict": net.state_dict(), "data": {"observation_space": {"low": torch.zeros(3)}}}, "policy.pth")
    tagger = {"state_dict": net.state_dict(), "embeddings": torch.nn.Embedding(5, 3)}
    torch.save({**tagger, "__cls__": "flair.models.SequenceTagger"}, "flair.pt")
    torch.save({**tagger, "tag_dictionary": made("flair.data", "Dictionary")()}, "old-flair.pt")
    torch.save({**tagger, "tag_dictionary": made("mine", "Dictionary")()}, "no-flair.pt")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make the files in a process with classes of fastai's names, since only these and the names of attributes count."""
    made = tmp_path_factory.mktemp("fastai")
    subprocess.run([sys.executable, "-c", MAKE], check=True, cwd=made)
    return made


@pytest.mark.parametrize("name", ["export.pkl", "old.pkl"])
def test_the_model_of_a_learner_is_its_net_with_the_names_of_its_state_dict(folder, name):
    state, w = torch.load(folder / "net.pt"), steelyard.weights(folder / name)
    assert [*w] == [*state]
    assert all(np.array_equal(w[key].numpy(), state[key]) for key in state)
    assert [layer.kind for layer in w.graph.layers] == ["dense", "batch norm"]
    everything = steelyard.weights(folder / name, scope="all")
    assert "dls.mean" in everything
    assert "model.0.weight" in everything


@pytest.mark.parametrize("name", ["flair.pt", "old-flair.pt"])
def test_the_model_of_flair_is_its_state_dict(folder, name):
    assert [*steelyard.weights(folder / name)] == [*torch.load(folder / "net.pt")]
    assert "embeddings.weight" in steelyard.weights(folder / name, scope="all")
    assert "embeddings.weight" in steelyard.weights(folder / "no-flair.pt")


@pytest.mark.parametrize(("name", "other"), [("saved.pth", "opt.state.0.grad_avg"), ("policy.pth", "data.observation_space.low")])
def test_what_fastai_and_stable_baselines3_save_is_the_net_without_optimizer_and_settings(folder, name, other):
    assert [*steelyard.weights(folder / name)] == [*torch.load(folder / "net.pt")]
    assert other in steelyard.weights(folder / name, scope="all")


def test_a_class_of_another_library_is_no_learner(folder):
    assert "dls.mean" in steelyard.weights(folder / "other.pkl")


def test_a_net_of_gensim_is_its_vectors_and_its_output_layer():
    for file, names in {
        "w2v.model": ["wv.vectors", "syn1neg"],
        "words.kv": ["vectors"],
        "ft.model": ["wv.vectors_vocab", "wv.vectors_ngrams", "syn1neg"],
    }.items():
        w = steelyard.weights(carried.folder("words") / file)
        assert [*w] == names
        assert [(str(x.role), x.axes) for x in w.values()] == [
            ("kernel", "out in") if name == "syn1neg" else ("embedding", "vocab out") for name in names
        ]
    everything = steelyard.weights(carried.folder("words") / "w2v.model", scope="all")
    assert {"wv.expandos.count", "random.state.key", "wv.vectors_lockf"} <= {*everything}
