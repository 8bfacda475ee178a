"""R's files, read without R and compared number by number with R's own output."""

import json
import math
import struct
import subprocess
from contextlib import contextmanager

import carried
import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError, SteelyardError
from steelyard.storage.source import open_path
from steelyard.testing import check_format

FIXTURES = carried.folder("r")


def cases(folder, kind=None):
    """Return the folder and the JSON of the fixtures of a folder, of one kind or of all."""
    found = [(path, json.loads(path.read_text())) for path in sorted((FIXTURES / folder).glob("*.json"))]
    return [pytest.param(path.parent, said, id=path.stem) for path, said in found if kind in (None, said.get("kind"))]


def numbers(value):
    """Return the numbers of a JSON list as an array; NA, NaN and Inf are words there."""
    words = {"NA": math.nan, "NaN": math.nan, "Inf": math.inf, "-Inf": -math.inf}

    def plain(item):
        return [plain(each) for each in item] if isinstance(item, list) else words.get(item, item)

    return np.array(plain(value), float)


def same(array, said):
    """Whether numbers equal those that R reported, bit for bit except for the payload of NA."""
    said = numbers(said)
    return array.shape == said.shape and np.array_equal(array, said.astype(array.dtype), equal_nan=True)


def sigmoid(value, cut=15.0):
    """The sigmoid of nnet's C code, with the exponential of its C library."""
    return 0.0 if value < -cut else 1.0 if value > cut else 1 / (1 + math.exp(-value))


def parts(weights, layer):
    """Return kernel, bias and skip kernel of a layer; a missing one is an array without rows."""
    held = {name.rpartition(".")[2]: part.numpy() for name, part in weights.layers[layer].items()}
    return held["kernel"], held["bias"], held.get("skip", np.zeros((0, len(held["bias"]))))


def forward(weights, facts, rows):
    """Predict as nnet's C code does, adding bias, hidden units and inputs one after another."""
    out = []
    for x in rows:
        hidden = list(x) if "hidden" not in weights.layers else None
        if hidden is None:
            kernel, bias, _ = parts(weights, "hidden")
            hidden = [sigmoid(added(bias[unit], x, kernel[:, unit])) for unit in range(len(bias))]
        kernel, bias, skip = parts(weights, "output")
        sums = [added(bias[unit], [*hidden, *x[: len(skip)]], [*kernel[:, unit], *skip[:, unit]]) for unit in range(len(bias))]
        out.append(outputs(sums, facts["output"]))
    return np.array(out)


def added(total, values, kernel):
    for value, weight in zip(values, kernel, strict=True):
        total += weight * value
    return float(total)


def outputs(sums, kind):
    if kind != "softmax":
        return [sigmoid(total) if kind == "logistic" else total for total in sums]
    top = max(sums)
    powers = [math.exp(total - top) for total in sums]
    whole = 0.0
    for power in powers:
        whole += power
    return [power / whole for power in powers]


@pytest.mark.parametrize(("folder", "said"), cases("nnet", "nnet"))
def test_an_nnet_s_vector_is_its_wts_and_its_layers_are_those_that_r_reports(folder, said):
    weights = steelyard.weights(folder / said["files"][0])
    assert weights.to_vector(order="F").tobytes() == numbers(said["wts"]).tobytes()
    layers = {layer: {k: v for k, v in held.items() if v is not None} for layer, held in said["layers"].items()}
    if "skip" in layers:
        leaf = "skip" if "hidden" in layers else "kernel"
        layers["output"][leaf] = layers.pop("skip")["kernel"]
    assert list(weights.layers) == list(layers)
    for layer, held in layers.items():
        found = {name.rpartition(".")[2]: part for name, part in weights.layers[layer].items()}
        assert found.keys() == held.keys()
        for leaf, value in held.items():
            assert same(found[leaf].numpy(), value), f"{layer}.{leaf}"


@pytest.mark.parametrize(("folder", "said"), cases("nnet", "nnet"))
def test_an_nnet_s_predictions_are_r_s_own_to_the_last_bit(folder, said):
    weights = steelyard.weights(folder / said["files"][0])
    (facts,) = weights.meta["networks"].values()
    assert same(forward(weights, facts, numbers(said["inputs"])), said["raw"])
    kind = "softmax" if said["softmax"] else "linear" if said["nsunits"] < said["nunits"] else "logistic"
    assert facts["output"] == kind
    assert facts["units"] == [n for n in said["n"] if n]
    assert facts.get("inputs", []) == (said["coefnames"] or [])
    assert facts.get("outputs", []) == (said["lev"] or [])
    assert (facts["entropy"], facts["censored"], facts["cut"]) == (said["entropy"], said["censored"], 15.0)
    assert facts["class"] == said["r_class"]
    assert "fitted.values" in weights.meta["notes"][0]


CONTAINERS = json.loads((FIXTURES / "nnet/containers/m.json").read_text())


@pytest.mark.parametrize("file", [*CONTAINERS["files"], *CONTAINERS["files_ascii16"], *CONTAINERS["files_zstd"]])
def test_a_fit_is_equal_in_every_container_that_r_writes(file):
    weights = steelyard.weights(FIXTURES / "nnet/containers" / file)
    said = CONTAINERS["wts_ascii16" if file in CONTAINERS["files_ascii16"] else "wts"]
    assert weights.to_vector(order="F").tobytes() == numbers(said).tobytes()


@pytest.mark.parametrize(("folder", "said"), cases("nnet/containers", "rdata"))
def test_several_objects_of_a_session_have_their_names(folder, said):
    for file in said["files"]:
        weights = steelyard.weights(folder / file)
        several = len(said["objects"]) > 1
        for name, wts in said["wts"].items():
            own = weights.select(f"{name}.*") if several else weights
            found = own.to_vector(order="F")
            assert np.allclose(found, numbers(wts), rtol=1e-15, atol=0) if "ascii" in file else same(found, wts)
            assert own.meta["networks"][name if several else ""]["package"] == "nnet"


def test_a_fit_inside_lists_has_their_names_before_its_own():
    weights = steelyard.weights(FIXTURES / "nnet/nested_list.rds")
    other = steelyard.weights(FIXTURES / "nnet/nnet_reg_linout.rds")
    assert list(weights) == ["models.a.hidden", "models.a.output"]
    assert list(weights.layers["models.a.hidden"]) == ["kernel", "bias"]
    assert weights.to_vector().tobytes() == other.to_vector().tobytes()


def test_scope_all_adds_the_other_arrays_to_the_weights():
    weights = steelyard.weights(FIXTURES / "nnet/nnet_softmax.rds", scope="all")
    assert list(weights)[:2] == ["hidden", "output"]
    assert weights["fitted.values"].shape == (67, 3)
    assert "wts" not in weights


ACTIVATIONS = {
    "logistic": lambda v: 1 / (1 + np.exp(-v)),
    "tanh": np.tanh,
    "relu": lambda v: np.maximum(v, 0),
    "linear": lambda v: v,
    "tansig": lambda v: 1.71590470857554 * np.tanh(2 * v / 3),
    "tanh(x/2)": lambda v: np.tanh(0.5 * v),
}


def predicted(weights, facts, rows):
    """Predict with a plain multilayer perceptron, layer by layer."""
    layers = list(weights.layers)
    for layer in layers:
        kernel, bias, _ = parts(weights, layer)
        rows = ACTIVATIONS[facts["output"] if layer == layers[-1] else facts["hidden"]](rows @ kernel + bias)
    return rows


@pytest.mark.parametrize(("folder", "said"), cases("other", "neuralnet"))
def test_a_neuralnet_s_vector_is_unlist_of_its_weights(folder, said):
    weights = steelyard.weights(folder / said["files"][0])
    (facts,) = weights.meta["networks"].values()
    assert (facts["inputs"], facts["outputs"], facts["repetitions"]) == (said["variables"], said["response"], len(said["reps"]))
    assert facts["output"] == ("linear" if said["linear_output"] else said["out_act"] or said["act"])
    assert facts["units"] == said["struct"]
    for nth, repetition in enumerate(said["reps"], 1):
        own = weights.select(f"rep{nth}.*") if len(said["reps"]) > 1 else weights
        if nth == 1:
            assert same(own.to_vector(order="F"), said["vector_rep1"])
        for layer, held in zip(own.layers, repetition["layers"], strict=True):
            kernel, bias, _ = parts(own, layer)
            assert same(kernel, zero_for_na(held["kernel"])), layer
            assert same(bias, zero_for_na(held["bias"])), layer
        assert np.allclose(predicted(own, facts, numbers(said["inputs"])), numbers(repetition["raw"]), rtol=0, atol=1e-14)


def zero_for_na(value):
    return [zero_for_na(item) for item in value] if isinstance(value, list) else 0.0 if value == "NA" else value


def test_excluded_weights_are_na_in_the_vector_also_in_a_copy_and_zeros_when_split():
    weights = steelyard.weights(FIXTURES / "other/neuralnet_exclude.rds")
    assert "excluded" in weights.meta["notes"][0]
    assert np.isnan(weights.to_vector()).sum() == 2
    for found in (weights, weights.copy()):
        assert not np.isnan(found.layers["hidden"].to_vector()).any()
    damaged = weights.from_vector(np.full(9, np.nan))
    assert np.isnan(damaged.layers["hidden"].to_vector()).all(), "a NaN that is not R's NA is a number gone wrong"


@pytest.mark.parametrize(("folder", "said"), cases("other", "amore"))
def test_an_amore_net_is_read_neuron_by_neuron(folder, said):
    weights = steelyard.weights(folder / said["files"][0])
    (facts,) = weights.meta["networks"].values()
    neurons = []
    for layer, held in zip(weights.layers, said["layers"], strict=True):
        kernel, bias, _ = parts(weights, layer)
        assert same(kernel, held["kernel"])
        assert same(bias, held["bias"])
        neurons += [[*column, b] for column, b in zip(zip(*held["kernel"], strict=True), held["bias"], strict=True)]
    assert same(weights.to_vector(order="F"), [number for neuron in neurons for number in neuron])
    assert np.allclose(predicted(weights, facts, numbers(said["inputs"])), numbers(said["raw"]), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("folder", "said"), cases("other", "monmlp"))
def test_the_members_of_a_monmlp_keep_the_bias_in_the_last_row(folder, said):
    weights = steelyard.weights(folder / said["files"][0])
    (facts,) = weights.meta["networks"].values()
    assert facts["preprocess"]["center"] == dict(zip(facts["inputs"], said["scaling"]["x.center"], strict=True))
    assert list(facts["targets"]["scale"].values()) == said["scaling"]["y.scale"]
    assert facts.get("monotone") == said["monotone"]
    rows = numbers(said["inputs"])
    rows = (rows - numbers(said["scaling"]["x.center"])) / numbers(said["scaling"]["x.scale"])
    results = []
    for nth, member in enumerate(said["members"], 1):
        own = weights.select(f"{nth}.*") if len(said["members"]) > 1 else weights
        for layer, held in zip(own.layers, member.values(), strict=True):
            kernel, bias, _ = parts(own, layer)
            assert same(kernel, held["kernel"])
            assert same(bias, held["bias"])
        results.append(predicted(own, facts, rows))
    if said["monotone"] is None:
        made = np.mean(results, axis=0) * numbers(said["scaling"]["y.scale"]) + numbers(said["scaling"]["y.center"])
        assert np.allclose(made, numbers(said["raw"]), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("folder", "said"), cases("other", "rsnns"))
def test_an_rsnns_net_has_the_rounded_numbers_of_its_text_and_a_note_on_it(folder, said):
    weights = steelyard.weights(folder / said["files"][0])
    (facts,) = weights.meta["networks"].values()
    assert "5 decimals" in weights.meta["notes"][0]
    matrix, bias = numbers(said["weight_matrix_in_file"]), numbers(said["unit_bias_in_file"])
    start, ends = 0, np.cumsum(facts["units"]).tolist()
    for layer, first, last in zip(weights.layers, ends, ends[1:], strict=False):
        kernel, own, _ = parts(weights, layer)
        assert same(kernel, matrix[start:first, first:last].tolist())
        unused = layer == "output" and facts["output"] == "linear"  # SNNS does not add the bias of a linear unit
        assert same(own, (bias[first:last] * (not unused)).tolist())
        assert same(weights[layer].numpy()[0], bias[first:last].tolist())
        start = first
    made = predicted(weights, facts, numbers(said["inputs"]).astype("float32"))
    assert np.allclose(made, numbers(said["raw_in_file"]), rtol=0, atol=1e-6)
    assert said["unit_names"][: len(facts["inputs"])] == [f"Input_{name}" for name in facts["inputs"]]


def test_caret_fits_list_the_final_model_and_the_preprocessing_of_its_inputs():
    (folder, said) = cases("other", "caret")[0].values
    weights = steelyard.weights(folder / said["files"][0])
    (facts,) = weights.meta["networks"].values()
    assert same(weights.to_vector(order="F"), said["wts"])
    before = facts["preprocess"]
    assert list(before["center"].values()) == said["preprocess"]["center"]
    assert list(before["scale"].values()) == said["preprocess"]["scale"]
    assert same(forward(weights, facts, numbers(said["inputs"])), said["raw"])
    assert "trainingData" in weights.meta["notes"][0]


def test_the_nets_of_an_avnnet_are_numbered_as_in_r():
    (folder, said) = cases("other", "avnnet")[0].values
    weights = steelyard.weights(folder / said["files"][0])
    assert list(weights)[:2] == ["model.1.hidden", "model.1.output"]
    assert same(weights.to_vector(order="F"), [number for wts in said["wts"] for number in wts])
    members = [weights.rename(rf"model\.{nth}\.(.*)", r"\1").select(["hidden", "output"]) for nth in (1, 2, 3)]
    made = [forward(own, weights.meta["networks"]["model.1"], numbers(said["inputs"])) for own in members]
    assert np.allclose(np.mean(made, axis=0), numbers(said["raw"]), rtol=0, atol=1e-14)


TORCH = [
    "module_v0",
    "module_v1",
    "module_v2",
    "module_v3",
    "tensor_noversion",
    "tensor_v0",
    "tensor_v1",
    "tensor_v2",
    "tensor_v3",
]


@pytest.mark.parametrize("name", [*TORCH, "list_v3"])
def test_all_formats_of_r_torch_have_the_tensors_and_the_vector_of_parameters(name):
    said = json.loads((FIXTURES / f"rtorch/rtorch_{name}.json").read_text())
    weights = steelyard.weights(FIXTURES / f"rtorch/rtorch_{name}.pt")
    before = "model." if said["type"] == "list" else ""
    assert list(weights) == [before + ("" if key == "...unnamed..." else key) for key in said["tensors"]]
    for weight, value in zip(weights.values(), said["tensors"].values(), strict=True):
        assert same(weight.numpy(), value), weight.name
    if "r_vector_of_parameters" in said:
        vector = weights.in_order("r-torch").to_vector(order="F")
        assert same(vector, said["r_vector_of_parameters"])
        assert weights.in_order("r-torch").locate(6, order="F") == ("fc1.bias", (0,))
        doubled = weights.in_order("r-torch").from_vector(vector * 2, order="F")
        assert same(doubled.to_vector(order="F"), (vector * 2).tolist())
        assert "bn.running_mean" not in doubled
        assert weights.meta["networks"][""]["class"] == ["Net"]


def test_r_torch_s_tensors_have_their_types_even_complex_ones_stored_as_bytes():
    weights = steelyard.weights(FIXTURES / "rtorch/rtorch_dtypes_v3.pt")
    assert {name: weight.dtype for name, weight in weights.items()} == {
        "conv": "float64",
        "half": "float16",
        "bf16": "bfloat16",
        "u8": "uint8",
        "bool": "bool",
        "scalar": "float32",
        "complex": "complex64",
    }
    assert weights["complex"].shape == (2,)
    assert np.isfinite(weights["complex"].numpy()).all()
    assert "__robj__" not in weights


def test_an_order_that_a_file_does_not_determine_is_refused():
    weights = steelyard.weights(FIXTURES / "rtorch/rtorch_dtypes_v3.pt")
    with pytest.raises(steelyard.errors.ShapeError, match="conv requires no gradient, so it may be"):
        weights.in_order("r-torch").to_vector()
    with pytest.raises(steelyard.errors.ShapeError, match="these weights have no order 'r-torch'"):
        steelyard.weights({"a": np.zeros(2)}).in_order("r-torch")


def test_brulee_models_list_the_best_epoch_and_cito_models_their_parameters():
    brulee = steelyard.weights(FIXTURES / "rtorch/brulee_like.rds")
    said = json.loads((FIXTURES / "rtorch/brulee_like.json").read_text())["estimates_epoch0"]
    assert list(brulee) == list(said)
    assert brulee.meta["networks"][""]["epoch"] == 1
    first = steelyard.weights(FIXTURES / "rtorch/brulee_like.rds", scope="all").select("estimates.1.*")
    assert [same(w.numpy(), value) for w, value in zip(first.values(), said.values(), strict=True)] == [True, True]
    cito = steelyard.weights(FIXTURES / "rtorch/cito_like.rds")
    said = json.loads((FIXTURES / "rtorch/cito_like.json").read_text())["net_parameters"]
    assert all(same(cito[name].numpy(), np.atleast_1d(numbers(value)).tolist()) for name, value in said.items())
    assert (cito["fc1.weight"].axes, cito["fc1.bias"].role) == ("out in", "bias")


def test_a_keras_file_in_a_raw_vector_is_read_in_place():
    said = json.loads((FIXTURES / "keras_r/keras_r.json").read_text())
    expected = numbers(said["vector_F"]).tobytes()
    for file, before in (
        ("keras3_save_model_raw", ""),
        ("keras2_serialize_model_in_list", "model."),
        ("keras_get_weights_list", ""),
    ):
        weights = steelyard.weights(FIXTURES / f"keras_r/{file}.rds")
        assert [list(weight.shape) for weight in weights.values()] == said["shapes"]
        assert weights.to_vector(order="F").astype("float64").tobytes() == expected, file
        if "get_weights" not in file:
            assert list(weights) == [before + path for path in said["paths"]]
    assert steelyard.weights(FIXTURES / "keras_r/keras_seed_vector.rds").to_vector().tobytes() == expected


def test_a_dead_pointer_of_keras_is_refused_with_a_remedy():
    with pytest.raises(FormatError, match=r'stayed behind in Python.*save_model\(model, "model.keras"\)'):
        steelyard.weights(FIXTURES / "keras_r/keras_model_saveRDS.rds")


def test_a_neuralnet_that_did_not_converge_is_refused_with_the_reason():
    with pytest.raises(FormatError, match="it did not converge; fit it again with a larger stepmax"):
        steelyard.weights(FIXTURES / "other/neuralnet_not_converged.rds")


HOSTILE = json.loads((FIXTURES / "hostile/hostile.json").read_text())


@pytest.mark.parametrize("file", [name for name in HOSTILE if (FIXTURES / "hostile" / name).exists()])
def test_hostile_files_are_refused_or_read_as_the_table_requires(file):
    case = HOSTILE[file]
    try:
        weights = steelyard.weights(FIXTURES / "hostile" / file)
        for weight in weights.values():
            weight.read(0, min(weight.size, 1 << 20))  # one of them would be 8 GB
    except SteelyardError as error:
        if case["outcome"] == "ok":
            pytest.fail(str(error))
        return
    assert case["outcome"] != "refuse", f"{file} was read: {list(weights)[:5]}"
    if "raw" in case:
        (facts,) = weights.meta["networks"].values()
        assert same(forward(weights, facts, numbers(case["x"])), case["raw"])


WRITTEN = ["nnet_softmax", "nnet_skip_softmax", "nnet_binary_entropy", "multinom_3", "nnet_env_captured"]


def in_r(code, *paths):
    """Run R, and return what it prints; it must be installed, as it is where the tests are run."""
    run = subprocess.run(
        ["Rscript", "--vanilla", "-e", code, *map(str, paths)], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_a_fit_of_the_installed_r_is_read_bit_for_bit_and_predicts_the_same(tmp_path):
    fit = """
        path <- commandArgs(TRUE); set.seed(3); x <- matrix(rnorm(120), 40); y <- x %*% c(1, -2, 1) + rnorm(40) / 9
        fit <- nnet::nnet(x, y, size = 4, linout = TRUE, skip = TRUE, trace = FALSE, maxit = 30)
        saveRDS(fit, path[1]); writeBin(fit$wts, path[2]); writeBin(as.vector(predict(fit, x)), path[3])
        writeBin(as.vector(t(x)), path[4])
    """
    paths = [tmp_path / name for name in ("fit.rds", "wts", "predicted", "x")]
    in_r(fit, *paths)
    weights = steelyard.weights(paths[0])
    assert weights.to_vector(order="F").tobytes() == paths[1].read_bytes()
    (facts,) = weights.meta["networks"].values()
    made = forward(weights, facts, np.fromfile(paths[3]).reshape(40, 3))
    assert made.reshape(-1).tobytes() == paths[2].read_bytes()


@pytest.mark.parametrize("name", WRITTEN)
def test_a_fit_is_written_with_new_weights_and_every_other_field_unchanged(tmp_path, name):
    weights = steelyard.weights(FIXTURES / f"nnet/{name}.rds")
    with pytest.warns(steelyard.errors.StaleWarning, match=r"fitted.values, residuals.* were computed with the old weights"):
        steelyard.save(weights.from_vector(weights.to_vector(order="F") * 2, order="F"), tmp_path / "new.rds")
    compare = """
        paths <- commandArgs(TRUE); old <- readRDS(paths[1]); new <- readRDS(paths[2])
        cat(identical(new$wts, old$wts * 2), ""); new$wts <- old$wts; cat(isTRUE(all.equal(new, old)))
    """
    assert in_r(compare, FIXTURES / f"nnet/{name}.rds", tmp_path / "new.rds") == ["TRUE", "TRUE"]


@pytest.mark.parametrize("file", ["m_v2_bzip2.rds", "m_v3_xz.rds", "m_v3_native_le.rds", "m_v2_none.rds"])
def test_a_fit_is_written_again_in_its_own_container(tmp_path, file):
    path = FIXTURES / "nnet/containers" / file
    weights = steelyard.weights(path)
    with pytest.warns(steelyard.errors.StaleWarning):
        steelyard.save(weights.from_vector(-weights.to_vector()), tmp_path / "new.rds")
    assert (tmp_path / "new.rds").read_bytes()[:6] == path.read_bytes()[:6]
    assert in_r("p <- commandArgs(TRUE); cat(identical(readRDS(p[1])$wts, -readRDS(p[2])$wts))", path, tmp_path / "new.rds") == [
        "TRUE"
    ]


def test_one_object_of_a_session_is_written_with_new_weights_and_the_others_unchanged(tmp_path):
    path = FIXTURES / "nnet/containers/three_v3_xz.RData"
    beta = steelyard.weights(path).select("beta.*")
    with pytest.warns(steelyard.errors.StaleWarning):
        steelyard.save(beta.from_vector(np.arange(beta.size, dtype=float), order="F"), tmp_path / "new.RData")
    compare = """
        p <- commandArgs(TRUE); old <- new.env(); new <- new.env(); load(p[1], old); load(p[2], new)
        for (name in ls(old)) if (name != "beta") cat(isTRUE(all.equal(old[[name]], new[[name]])), "")
        cat(identical(new$beta$wts, as.double(seq_along(old$beta$wts) - 1)))
    """
    assert in_r(compare, path, tmp_path / "new.RData") == ["TRUE"] * 4
    with pytest.raises(FormatError, match=r"which R reads as .RData"):
        steelyard.save(beta, tmp_path / "new.rds")


def test_a_neuralnet_and_an_amore_net_are_written_again_too(tmp_path):
    for name, change in (("neuralnet_reps", "unlist(x$weights)"), ("amore_two_hidden", AMORE_SNIPPET)):
        path = FIXTURES / f"other/{name}.rds"
        weights = steelyard.weights(path)
        vector = weights.to_vector(order="F")
        with pytest.warns(steelyard.errors.StaleWarning) if "neuralnet" in name else nothing_is_said():
            steelyard.save(weights.from_vector(vector * 2, order="F"), tmp_path / "new.rds")
        in_r(
            f"p <- commandArgs(TRUE); x <- readRDS(p[1]); writeBin(as.vector({change}), p[2])",
            tmp_path / "new.rds",
            tmp_path / "v",
        )
        assert (tmp_path / "v").read_bytes() == (vector * 2).tobytes(), name


AMORE_SNIPPET = "unlist(lapply(x$neurons, function(n) c(n$weights, n$bias)))"


@contextmanager
def nothing_is_said():
    yield


def test_weights_that_do_not_fit_the_r_object_are_refused_with_the_reason(tmp_path):
    ascii_ = steelyard.weights(FIXTURES / "nnet/containers/m_v3_ascii.rds")
    with pytest.raises(FormatError, match="ASCII"):
        steelyard.save(ascii_, tmp_path / "new.rds")
    fit = steelyard.weights(FIXTURES / "nnet/nnet_softmax.rds")
    with pytest.raises(FormatError, match="to write a plain named list, save a dict of arrays"):
        steelyard.save(fit.rename("hidden", "dense"), tmp_path / "new.rds")
    with pytest.raises(FormatError, match=r"save them as .rds"):
        steelyard.save({"a": np.zeros(2)}, tmp_path / "new.RData")
    assert not list(tmp_path.iterdir())


def test_weights_of_any_kind_become_a_named_list_that_plain_r_reads(tmp_path):
    arrays = {"fc.weight": np.arange(6, dtype="float32").reshape(2, 3), "größe": np.array([1.5, -0.0]), "n": np.int32(7)}
    steelyard.save(arrays, tmp_path / "w.rds")
    read = 'x <- readRDS(commandArgs(TRUE)); cat(names(x), dim(x[[1]]), x[[1]][1, ], is.integer(x$n), 1 / x[[2]][2], sep = " ")'
    assert in_r(read, tmp_path / "w.rds") == ["fc.weight", "größe", "n", "2", "3", "0", "1", "2", "TRUE", "-Inf"]
    back = steelyard.weights(tmp_path / "w.rds")
    assert {name: (w.dtype, w.shape) for name, w in back.items()} == {
        "fc.weight": ("float32", (2, 3)),
        "größe": ("float64", (2,)),
        "n": ("int32", ()),
    }
    assert all(back[name].numpy().tobytes() == np.asarray(array).tobytes() for name, array in arrays.items())


@pytest.mark.parametrize(
    "file", ["nnet/nnet_skip_linout", "other/neuralnet_reg_2hidden", "types/plain_weights", "rtorch/cito_like"]
)
def test_r_keeps_the_contract_of_a_format(file):
    check_format(open_path(FIXTURES / f"{file}.rds"))


def test_a_matrix_with_unusual_connections_is_split_by_them():
    weights = steelyard.weights(FIXTURES / "hostile/nnet_sparse_conn.rds")
    good = steelyard.weights(FIXTURES / "hostile/nnet_good.rds")
    assert [len(weight.shape) for weight in weights.values()] == [1, 2]
    assert weights.size == good.size - 2
    kernel, _, _ = parts(weights, "hidden")
    assert kernel.shape == parts(good, "hidden")[0].shape
    assert (kernel == 0).sum() == 2
    assert same(parts(weights.copy(), "hidden")[0], kernel.tolist())


MODULES = """
    path <- commandArgs(TRUE); file <- readRDS(path[1]); tensor <- file$state_dict[[2]]
    module <- function(parameters, buffers, children) {
        instance <- new.env(); instance$.__enclos_env__ <- new.env()
        instance$.__enclos_env__$private <- list2env(list(parameters_ = parameters, buffers_ = buffers, modules_ = children))
        structure(function(...) NULL, class = c("Mine", "nn_module"), module = instance)
    }
    child <- module(list(weight = 1, bias = NULL), list(), list())
    file$module <- module(list(alpha = 1, gain = 1), list(mask = 1), list(b = child, a = child))
    file$state_dict <- list(alpha = tensor, gain = tensor, mask = tensor, b.weight = tensor, a.weight = tensor)
    saveRDS(file, path[2])
"""


def test_a_module_of_r_torch_declares_its_parameters(tmp_path):
    """The lists are those of R torch's source; only they distinguish a buffer with an unusual name from a parameter."""
    in_r(MODULES, FIXTURES / "rtorch/rtorch_module_v2.pt", tmp_path / "own.pt")
    weights = steelyard.weights(tmp_path / "own.pt")
    assert list(weights) == ["alpha", "gain", "mask", "b.weight", "a.weight"]
    assert weights.meta["networks"][""]["class"] == ["Mine"]
    places = [weights.in_order("r-torch").locate(3 * nth)[0] for nth in range(4)]
    assert places == ["b.weight", "a.weight", "alpha", "gain"]
    assert weights.in_order("r-torch").to_vector().size == 12


def test_a_fit_inside_unknown_classes_is_found_and_dead_models_next_to_it_are_noted(tmp_path):
    in_r(
        """
        path <- commandArgs(TRUE); fit <- readRDS(path[1]); dead <- readRDS(path[2])
        saveRDS(structure(list(spec = list(size = 2), fit = fit), class = c("_nnet", "model_fit")), path[3])
        saveRDS(list(model = dead, weights = list(kernel = diag(2))), path[4])
        torch <- structure(new.env(), class = c("Net", "nn_module", "R6")); saveRDS(torch, path[5])
        """,
        FIXTURES / "nnet/nnet_softmax.rds",
        FIXTURES / "keras_r/keras_model_saveRDS.rds",
        *(tmp_path / name for name in ("parsnip.rds", "dead.rds", "torch.rds")),
    )
    assert list(steelyard.weights(tmp_path / "parsnip.rds")) == ["fit.hidden", "fit.output"]
    beside = steelyard.weights(tmp_path / "dead.rds")
    assert list(beside) == ["weights.kernel"]
    assert "this file also holds a Keras model of R" in beside.meta["notes"][0]
    with pytest.raises(FormatError, match=r"a model of R torch \(Net\).*torch_save"):
        steelyard.weights(tmp_path / "torch.rds")


def test_a_list_of_the_older_formats_of_r_torch_keeps_its_names(tmp_path):
    in_r(
        """
        path <- commandArgs(TRUE); file <- readRDS(path[1])
        tensors <- lapply(file$state_dict[c(2, 1)], structure, class = "torch_serialized_tensor")
        saveRDS(list(values = list(model = tensors, epoch = 5, list(tensors[[2]])), type = "list", version = 2), path[2])
        """,
        FIXTURES / "rtorch/rtorch_module_v2.pt",
        tmp_path / "list.pt",
    )
    weights = steelyard.weights(tmp_path / "list.pt")
    module = steelyard.weights(FIXTURES / "rtorch/rtorch_module_v2.pt")
    assert list(weights) == ["model.fc1.bias", "model.fc1.weight", "3.1"]
    assert np.array_equal(weights["3.1"].numpy(), module["fc1.weight"].numpy())


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".npz", ".h5"])
def test_a_fit_goes_into_every_other_format_with_its_layers(tmp_path, suffix):
    weights = steelyard.weights(FIXTURES / "nnet/nnet_skip_softmax.rds")
    steelyard.save(weights, tmp_path / f"fit{suffix}")
    back = steelyard.weights(tmp_path / f"fit{suffix}")
    assert back.to_vector(order="F").tobytes() == weights.to_vector(order="F").tobytes()
    for layer, held in weights.layers.items():
        assert {name: part.numpy().tolist() for name, part in back.layers[layer].items()} == {
            name: part.numpy().tolist() for name, part in held.items()
        }


def test_connections_that_do_not_form_layers_are_listed_as_a_flat_vector(tmp_path):
    """nnet's C code allows a hidden unit that feeds another, but its connections are not a layer's matrix."""
    wts = in_r(
        """
        fit <- structure(list(n = c(1, 2, 1), nunits = 5L, nconn = c(0, 0, 0, 2, 5, 8), conn = c(0, 1, 0, 1, 2, 0, 2, 3),
                              nsunits = 4, wts = as.double(1:8), entropy = FALSE, softmax = FALSE), class = "nnet")
        saveRDS(fit, commandArgs(TRUE)); cat(fit$wts)
        """,
        tmp_path / "fit.rds",
    )
    weights = steelyard.weights(tmp_path / "fit.rds")
    assert [str(int(number)) for number in weights.to_vector(order="F")] == wts
    assert weights["hidden"].shape == (5,)
    assert list(weights.layers["hidden"]) == ["hidden"]
    assert list(weights.layers["output"]) == ["kernel", "bias"]
    assert weights.meta["networks"][""]["conn"] == [0, 1, 0, 1, 2, 0, 2, 3]


def test_amore_neurons_fed_by_only_some_units_are_split_with_zeros(tmp_path):
    in_r(
        """
        path <- commandArgs(TRUE); net <- readRDS(path[1]); n <- net$neurons[[2]]
        n$weights <- n$weights[2]; n$input.links <- n$input.links[2]; net$neurons[[2]] <- n; saveRDS(net, path[2])
        """,
        FIXTURES / "other/amore_two_hidden.rds",
        tmp_path / "net.rds",
    )
    before, after = (steelyard.weights(path) for path in (FIXTURES / "other/amore_two_hidden.rds", tmp_path / "net.rds"))
    expected = parts(before, "hidden1")[0].copy()
    expected[0, 1] = 0
    assert np.array_equal(parts(after, "hidden1")[0], expected)
    assert np.array_equal(parts(after, "hidden1")[1], parts(before, "hidden1")[1])
    assert after.size == before.size - 1


def test_a_compressed_file_inside_a_raw_vector_is_not_inflated(tmp_path):
    in_r('saveRDS(list(a = 1, b = memCompress(serialize(2, NULL), "gzip")), commandArgs(TRUE))', tmp_path / "packed.rds")
    in_r("saveRDS(list(a = serialize(readRDS(commandArgs(TRUE)[1]), NULL)), commandArgs(TRUE)[2])", NNET, tmp_path / "plain.rds")
    assert list(steelyard.weights(tmp_path / "packed.rds")) == ["a"]
    assert list(steelyard.weights(tmp_path / "plain.rds")) == ["a.hidden", "a.output"]


NNET = FIXTURES / "nnet/nnet_softmax.rds"


def test_a_factor_a_date_and_a_data_frame_are_not_weights():
    for name in ("factor", "date_posix", "data_frame"):
        with pytest.raises(FormatError, match="has no network weights"):
            steelyard.weights(FIXTURES / f"types/{name}.rds")
    assert steelyard.weights(FIXTURES / "types/integer64.rds")[""].dtype == "int64"


@pytest.mark.parametrize("name", ["array3", "altrep_intseq", "altrep_realseq", "int_na", "double_special"])
def test_plain_arrays_have_the_numbers_that_r_reports(name):
    said = json.loads((FIXTURES / "types/types.json").read_text())[name]["expected"]
    weight = steelyard.weights(FIXTURES / f"types/{name}.rds")[""]
    expected = [-(1 << 31) if item is None else item for item in said]
    assert same(weight.numpy(), expected)


def test_a_compact_vector_of_an_unknown_class_is_listed_with_the_reason_and_refused(tmp_path):
    def text(word):
        return struct.pack(">2i", 9, len(word)) + word

    def symbol(word):
        return struct.pack(">i", 1) + text(word)

    matrix = (
        struct.pack(">2i6d", 14 | 512, 6, *range(6))
        + struct.pack(">i", 1026)
        + symbol(b"dim")
        + struct.pack(">5i", 13, 2, 2, 3, 254)
    )
    classes = (
        struct.pack(">i", 2)
        + symbol(b"mmap_real")
        + struct.pack(">i", 2)
        + symbol(b"simplemmap")
        + struct.pack(">5i", 2, 13, 1, 14, 254)
    )
    compact = struct.pack(">i", 238) + classes + struct.pack(">3i", 13, 1, 7) + struct.pack(">i", 254)
    names = (
        struct.pack(">i", 1026) + symbol(b"names") + struct.pack(">2i", 16, 2) + text(b"w") + text(b"z") + struct.pack(">i", 254)
    )
    path = tmp_path / "a.rds"
    path.write_bytes(struct.pack(">2s3i", b"X\n", 2, 0, 0) + struct.pack(">2i", 19 | 512, 2) + matrix + compact + names)
    found = steelyard.weights(path)
    assert found["w"].numpy().tolist() == [[0, 2, 4], [1, 3, 5]]
    assert found["z"].shape == ()
    assert found["z"].encoding == "a compact vector of the unknown class mmap_real"
    with pytest.raises(FormatError, match="z is a compact vector of the unknown class mmap_real, which is not supported"):
        found["z"].numpy()


@pytest.mark.parametrize("names", [("",), ("a", "", "b"), ("", "2")])
def test_an_array_without_a_name_keeps_its_facts_and_its_place(tmp_path, names):
    arrays = {name: np.full((2, nth), nth, "f2") for nth, name in enumerate(names, 1)}
    steelyard.save(arrays, tmp_path / "w.rds")
    found = steelyard.weights(tmp_path / "w.rds")
    assert [*found] == [*arrays]
    assert all(np.array_equal(found[name].numpy(), array) and found[name].dtype == "float16" for name, array in arrays.items())


def test_an_array_without_a_name_beside_one_of_the_name_of_its_place_is_refused(tmp_path):
    with pytest.raises(FormatError, match="has no name, and another has that of its place in a list, 1; rename one"):
        steelyard.save({"": np.ones(2), "1": np.zeros(2)}, tmp_path / "w.rds")
    assert not [*tmp_path.iterdir()]
