"""Fits of R's lm and glm have the coefficients that R gives, and caret's pcaNNet the network inside."""

import subprocess

import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError, StaleWarning

MADE = """
    path <- commandArgs(TRUE)[1]; set.seed(3); at <- function(name) file.path(path, name)
    d <- data.frame(x = rnorm(30), g = factor(rep(c("a", "b", "c"), 10)), z = rnorm(30)); d$y <- d$x + rnorm(30) / 9; d$z2 <- d$z
    fits <- list(lm = lm(y ~ x + g, d), bare = lm(y ~ 0 + x + z, d), aliased = lm(y ~ z + z2, d),
                 glm = glm(y > 0 ~ z, binomial, d))
    for (name in names(fits)) { saveRDS(fits[[name]], at(name)); writeBin(unname(coef(fits[[name]])), at(paste0(name, ".bin"))) }
    saveRDS(lm(cbind(y, z) ~ x, d), at("mlm"))
    inner <- nnet::nnet(as.matrix(d[c("x", "z")]), d$y, size = 2, linout = TRUE, trace = FALSE, maxit = 5)
    pc <- structure(list(method = list(pca = c("x", "z")), mean = c(x = 1, z = 2), std = c(x = 3, z = 4)), class = "preProcess")
    saveRDS(structure(list(model = inner, pc = pc, names = c("x", "z")), class = "pcaNNet"), at("pca")); writeBin(inner$wts, at("pca.bin"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("fits")
    run = subprocess.run(
        ["Rscript", "--vanilla", "-e", MADE, str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    return path


@pytest.mark.parametrize("name", ["lm", "bare", "aliased", "glm"])
def test_the_coefficients_are_those_of_r_bit_for_bit(folder, name):
    w = steelyard.weights(folder / name)
    assert w.to_vector().tobytes() == (folder / f"{name}.bin").read_bytes()
    assert list(w) == (["coefficients"] if name == "bare" else ["(Intercept)", "coefficients"])
    assert (w["coefficients"].role, w["coefficients"].axes) == ("kernel", "in")
    (facts,) = w.meta["networks"].values()
    assert facts["inputs"] == {"lm": ["x", "gb", "gc"], "bare": ["x", "z"], "aliased": ["z", "z2"], "glm": ["z"]}[name]
    assert facts.get("link") == ("logit" if name == "glm" else None)


def test_new_coefficients_are_those_of_the_written_fit(folder, tmp_path):
    w = steelyard.weights(folder / "lm")
    with pytest.warns(StaleWarning, match="were computed with the old weights"):
        steelyard.save(w.from_vector(np.arange(4.0)), tmp_path / "new.rds")
    code = 'f <- readRDS(commandArgs(TRUE)); cat(predict(f, data.frame(x = 10, g = "c")))'
    run = subprocess.run(
        ["Rscript", "--vanilla", "-e", code, str(tmp_path / "new.rds")], capture_output=True, text=True, check=True
    )
    assert float(run.stdout) == 0 + 10 + 3


def test_a_fit_of_several_responses_is_refused(folder):
    with pytest.raises(FormatError, match="mlm"):
        steelyard.weights(folder / "mlm")


def test_the_network_of_a_pcannet_is_that_of_nnet_with_its_preprocessing(folder):
    w = steelyard.weights(folder / "pca")
    assert w.to_vector(order="F").tobytes() == (folder / "pca.bin").read_bytes()
    (facts,) = w.meta["networks"].values()
    assert facts["preprocess"] == {"method": ["pca"], "center": {"x": 1, "z": 2}, "scale": {"x": 3, "z": 4}}
    assert not w.graph.is_sequential
