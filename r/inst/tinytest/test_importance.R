# Olden's and Garson's measures: by hand, and by another computation.

# one hidden layer, two inputs, two units, one output, by hand
small <- list(layer1.kernel = rbind(c(1, -2), c(3, 4)), layer1.bias = c(9, 9), layer2.kernel = rbind(0.5, -1), layer2.bias = 7)
expect_equal(as.numeric(nn_importance(small, axes = "in out")), c(1 * 0.5 + -2 * -1, 3 * 0.5 + 4 * -1))
# shares: unit 1 gets 1/4 and 3/4, unit 2 gets 2/6 and 4/6; times 0.5 and 1; over their sum 1.5
expect_equal(as.numeric(nn_importance(small, "garson", axes = "in out")), c((1 / 4 * 0.5 + 2 / 6) / 1.5, (3 / 4 * 0.5 + 4 / 6) / 1.5))

# the published sums, written out as loops over every way through the network
olden_by_ways <- function(kernels) {
  ways <- function(from, nth) {
    if (nth > length(kernels)) return(as.numeric(seq_len(ncol(kernels[[nth - 1]])) == from))
    Reduce(`+`, lapply(seq_len(ncol(kernels[[nth]])), function(to) kernels[[nth]][from, to] * ways(to, nth + 1)))
  }
  do.call(rbind, lapply(seq_len(nrow(kernels[[1]])), ways, nth = 1))
}
garson_one_layer <- function(w, v) {
  out <- matrix(0, nrow(w), ncol(v))
  for (k in seq_len(ncol(v))) {
    for (i in seq_len(nrow(w))) for (j in seq_len(ncol(w))) out[i, k] <- out[i, k] + abs(w[i, j]) / sum(abs(w[, j])) * abs(v[j, k])
    out[, k] <- out[, k] / sum(out[, k])
  }
  out
}
shares <- function(kernel) apply(abs(kernel), 2, function(column) column / sum(column))

library(nnet)
set.seed(2)
fit <- nnet(Species ~ ., iris, size = 3, decay = 0.01, trace = FALSE)
w <- nn_weights(fit)
expect_equal(unname(nn_importance(fit)), olden_by_ways(list(w$hidden.kernel, w$output.kernel)))
expect_equal(unname(nn_importance(fit, "garson")), garson_one_layer(w$hidden.kernel, w$output.kernel))
expect_identical(dimnames(nn_importance(fit)), list(names(iris)[1:4], levels(iris$Species)))
expect_equal(unname(colSums(nn_importance(fit, "garson"))), c(1, 1, 1))

# a connection that skips a layer is one more way
skip <- nnet(Petal.Width ~ Petal.Length + Sepal.Length, iris, size = 2, skip = TRUE, linout = TRUE, trace = FALSE)
w <- nn_weights(skip)
expect_equal(unname(nn_importance(skip)), w$hidden.kernel %*% w$output.kernel + w$output.skip)
total <- sum(abs(w$output.kernel)) + sum(abs(w$output.skip))
expect_equal(unname(nn_importance(skip, "garson")), shares(w$hidden.kernel) %*% abs(w$output.kernel) / total + abs(w$output.skip) / total)
expect_identical(dimnames(nn_importance(skip)), list(c("Petal.Length", "Sepal.Length"), "Petal.Width"))

# without a hidden layer: the weights and their shares
flat <- multinom(Species ~ ., iris, trace = FALSE)
expect_equal(unname(nn_importance(flat)), nn_weights(flat)$output.kernel)
expect_equal(unname(nn_importance(flat, "garson")[, 2:3]), shares(nn_weights(flat)$output.kernel[, 2:3]))

# neuralnet with two hidden layers
deep <- readRDS(file.path(Sys.getenv("STEELYARD_FITS"), "other", "neuralnet_reg_2hidden.rds"))
kernels <- lapply(deep$weights[[1]], function(layer) layer[-1, , drop = FALSE])
expect_equal(unname(nn_importance(deep)), olden_by_ways(kernels))
expect_equal(unname(nn_importance(deep, "garson")), shares(kernels[[1]]) %*% shares(kernels[[2]]) %*% shares(kernels[[3]]))
expect_identical(rownames(nn_importance(deep)), deep$model.list$variables)
repeated <- file.path(Sys.getenv("STEELYARD_FITS"), "other", "neuralnet_reps.rds")
expect_error(nn_importance(repeated), "consecutive dense layers do not match: rep1.hidden \\(2 to 2\\), rep1.output")
second <- readRDS(repeated)$weights[[2]]
expect_equal(unname(nn_importance(repeated, layers = c("rep2.hidden", "rep2.output"))), second[[1]][-1, ] %*% second[[2]][-1, ])
excluded <- file.path(Sys.getenv("STEELYARD_FITS"), "other", "neuralnet_exclude.rds")
expect_true(all(is.finite(nn_importance(excluded))))

# the same network in PyTorch, Keras and scikit-learn
reticulate::py_run_string("
import warnings
import numpy as np, torch, keras
from sklearn.neural_network import MLPRegressor
rng = np.random.default_rng(3)
kernels = [rng.normal(size=s).astype('float32') for s in ((4, 5), (5, 3), (3, 2))]
importance_torch = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
for place, kernel in zip((0, 2, 4), kernels): importance_torch[place].weight.data = torch.tensor(kernel.T.copy())
importance_keras = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5), keras.layers.Dense(3), keras.layers.Dense(2)])
for layer, kernel in zip(importance_keras.layers, kernels): layer.kernel.assign(kernel)
with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    importance_mlp = MLPRegressor(hidden_layer_sizes=(5, 3), max_iter=5, solver='lbfgs').fit(np.zeros((4, 4)), np.zeros((4, 2)))
importance_mlp.coefs_ = [kernel.astype(float) for kernel in kernels]
")
models <- lapply(c("importance_torch", "importance_keras", "importance_mlp"), reticulate::py_eval, convert = FALSE)
kernels <- unname(nn_weights(models[[3]], "coefs_*"))
for (model in models) {
  expect_equal(unname(nn_importance(model)), olden_by_ways(kernels))
  expect_equal(unname(nn_importance(model, "garson")), shares(kernels[[1]]) %*% shares(kernels[[2]]) %*% shares(kernels[[3]]))
}
expect_identical(dimnames(nn_importance(models[[1]], inputs = letters[1:4], outputs = c("p", "q"))), list(letters[1:4], c("p", "q")))
expect_error(nn_importance(models[[1]], inputs = "a"), "1 names are given, but the network has 4")

# files without axes: inferred from how the shapes fit, or requested
square <- list(a.kernel = diag(2), b.kernel = diag(2))
expect_error(nn_importance(square), "its shape fits both; pass axes")
hidden <- matrix(as.numeric(1:6), 2)
last <- matrix(as.numeric(1:4), 2)
expect_equal(unname(nn_importance(list(a.weight = hidden, b.weight = last))), t(hidden) %*% t(last))

# a network that is not a chain of dense layers is refused, and the error names its kind
reticulate::py_run_string("
import torch
importance_conv = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(8, 4), torch.nn.Linear(4, 2))
importance_norm = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
")
conv <- reticulate::py_eval("importance_conv", convert = FALSE)
expect_error(nn_importance(conv), "0.weight is a kernel of axes out in kh kw")
expect_identical(dim(nn_importance(conv, layers = c("2", "3"))), c(8L, 2L))
expect_error(nn_importance(conv, layers = c("3", "2")), "consecutive dense layers do not match")
expect_error(nn_importance(conv, layers = "7"), "no layer is called '7'")
expect_error(nn_importance(reticulate::py_eval("importance_norm", convert = FALSE)), "1.weight is a scale")

# a unit that nothing reaches counts for none
dead <- list(a.kernel = rbind(c(1, 0), c(3, 0)), b.kernel = rbind(1, 5))
expect_equal(as.numeric(nn_importance(dead, "garson", axes = "in out")), c(0.25, 0.75))
