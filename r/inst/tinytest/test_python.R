# Models of Python that reticulate holds: the same vector live, from a file, and in R.

reticulate::py_run_string("
import warnings
import numpy as np, torch
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
rng = np.random.default_rng(0)
python_x = rng.normal(size=(60, 4))
python_y = np.where(python_x[:, 0] > 0, 'yes', 'no')
net = MLPClassifier((5, 3), solver='lbfgs', max_iter=3000, random_state=0)
search = GridSearchCV(make_pipeline(StandardScaler(), net), {'mlpclassifier__alpha': [0.01, 0.1]}, cv=2).fit(python_x, python_y)
torch.manual_seed(0)
module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten(), torch.nn.Linear(8, 3))
def by_columns(arrays):
    return bytearray(np.concatenate([np.asarray(a, dtype='<f8').ravel(order='F') for a in arrays]).tobytes())
def by_rows(arrays):
    return bytearray(np.concatenate([np.asarray(a, dtype='<f8').ravel() for a in arrays]).tobytes())
def x_raw():
    return by_columns([python_x])
def probabilities():
    return by_columns([search.predict_proba(python_x)])
def torch_answer():
    module.eval()
    with torch.no_grad():
        answer = module(torch.arange(32, dtype=torch.float32).reshape(2, 1, 4, 4) / 10)
    module.train()
    return by_columns([answer.numpy()])
")
py <- reticulate::py
held <- function(code) reticulate::py_eval(code, convert = FALSE)
doubles <- function(bytes) readBin(bytes, "double", length(bytes) / 8, 8, endian = "little")

# a grid search over a pipeline
search <- held("search")
best <- "search.best_estimator_[-1]"
own <- doubles(reticulate::py_eval(sprintf("by_columns([a for pair in zip(%s.coefs_, %s.intercepts_) for a in pair])", best, best)))
expect_identical(nn_vector(search), own)
x <- matrix(doubles(py$x_raw()), 60)
# outputs may differ in the last bits, since how a product is added up depends on threads and on memory
expect_equal(as.numeric(nn_predict(search, x)), doubles(py$probabilities()), tolerance = 1e-12)
expect_identical(colnames(nn_predict(search, x)), c("no", "yes"))
expect_identical(nn_predict(search, x, "class"), as.character(reticulate::py_eval("search.predict(python_x).tolist()")))
expect_equal(nn_predict(search, as.data.frame(x)), nn_predict(search, x), tolerance = 1e-12)

# PyTorch: as.numeric of each tensor, which is by columns; order "C" is parameters_to_vector
module <- held("module")
expect_identical(nn_vector(module), doubles(reticulate::py_eval("by_columns(module.state_dict().values())")))
expect_identical(nn_vector(module, order = "C"), doubles(reticulate::py_eval("by_rows(module.state_dict().values())")))
expect_identical(dim(nn_weights(module)[["0.weight"]]), c(2L, 1L, 3L, 3L))
expect_identical(nn_weights(module, "3.*")[["3.weight"]], matrix(doubles(reticulate::py_eval("by_columns([module[3].weight.detach()])")), 3))
images <- aperm(array((0:31) / 10, c(4, 4, 1, 2)), c(4, 3, 2, 1))
expect_equal(as.numeric(nn_predict(module, images)), doubles(py$torch_answer()), tolerance = 1e-6)
expect_true(reticulate::py_eval("module.training"))

# a Python model is changed in place and returned invisibly
v <- nn_vector(module)
result <- withVisible(nn_assign(module, v * 0.5))
expect_false(result$visible)
expect_identical(result$value, module)
expect_identical(nn_vector(module), v * 0.5)
nn_assign(module, nn_vector(module, "C") * 2, order = "C")
expect_identical(nn_vector(module), v)
w <- nn_weights(module)
w[["3.weight"]][2, 5] <- 0.25
nn_assign(module, w[c("3.weight", "0.bias")])
expect_identical(nn_weights(module), w)
expect_identical(reticulate::py_eval("module[3].weight[1, 4].item()"), 0.25)
nn_assign(module, v)
expect_error(nn_assign(module, v[-1]), "these 9 weights take")
expect_error(nn_assign(module, v * NA), "num_batches_tracked")
expect_identical(nn_vector(module), v, info = "nothing was written by the refused ones")
expect_identical(reticulate::py_eval("module[3].weight[0, 0].item()"), nn_weights(module)[["3.weight"]][1, 1])

# Keras: one vector live in Python, saved as .keras, and held in R
saved <- tempfile(fileext = ".keras")
theirs <- tempfile()
script <- tempfile(fileext = ".py")
writeLines(c(
  "import sys, keras, numpy as np, steelyard",
  "keras.utils.set_random_seed(1)",
  "model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(3, 3, activation='relu'), keras.layers.BatchNormalization(),",
  "                          keras.layers.Flatten(), keras.layers.Dense(5, 'tanh'), keras.layers.Dense(2, 'softmax')])",
  "model.compile('adam', 'mse')",
  "x = np.random.default_rng(0).normal(size=(32, 8, 8, 1)).astype('float32')",
  "model.fit(x, np.eye(2)[(x.mean((1, 2, 3)) > 0).astype(int)], epochs=2, verbose=0)",
  "model.save(sys.argv[1])",
  "seed = np.concatenate([a.ravel(order='F') for a in model.get_weights()])",
  "assert np.array_equal(seed, steelyard.weights(model).to_vector(order='F'))",
  "seed.astype('<f8').tofile(sys.argv[2])"
), script)
# R's own library path would give this Python the libraries of another one
expect_identical(system2(reticulate::py_config()$python, c(script, saved, theirs), env = "LD_LIBRARY_PATH="), 0L)
live <- readBin(theirs, "double", 1e6, 8, endian = "little")
keras <- reticulate::import("keras", convert = FALSE)
model <- keras$models$load_model(saved)
expect_true(length(live) > 500)
expect_identical(nn_vector(saved), live)
expect_identical(nn_vector(model), live)
# the same line as R users write it, with the arrays brought over as bytes
arrays <- nn_weights(model)
expect_identical(as.numeric(unlist(lapply(arrays, as.vector))), live)
expect_identical(dim(arrays[[1]]), c(3L, 3L, 1L, 3L))
nn_assign(model, live * 0.25)
expect_identical(nn_vector(model), live * 0.25)
nn_assign(model, live)
some <- array(seq(-1, 1, length.out = 128), c(2, 8, 8, 1))
answer <- nn_predict(model, some)
expect_identical(dim(answer), c(2L, 2L))
expect_equal(rowSums(answer), c(1, 1), tolerance = 1e-6)
expect_identical(nn_predict(model, some, "class"), as.character(max.col(answer)))

# a Keras model behind get_weights(): a list of arrays that reticulate left in Python
expect_identical(nn_vector(reticulate::py_to_r(model$get_weights())), live)

# trees of JAX cannot be changed in place
tree <- reticulate::py_eval("__import__('jax').numpy.ones((2, 3))", convert = FALSE)
expect_identical(nn_vector(tree), rep(1, 6))
expect_error(nn_assign(tree, rep(2, 6)), "in place")
expect_error(nn_assign(saved, live), "does not change files")
