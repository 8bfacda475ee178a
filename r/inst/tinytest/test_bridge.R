# Numbers cross as raw bytes, whatever reticulate and NumPy are installed.

bridge <- reticulate::import("steelyard.rbridge")
numpy <- reticulate::import("numpy", convert = FALSE)
numpy_version <- as.numeric(sub("\\..*", "", reticulate::py_to_r(numpy$`__version__`)))

# what every reticulate converts, and nothing else
plain <- function(x) {
  if (inherits(x, "python.builtin.object")) return(FALSE)
  if (is.list(x)) return(all(vapply(x, plain, NA)))
  is.null(dim(x)) && (is.raw(x) || is.character(x) || is.numeric(x))
}

reticulate::py_run_string("
import numpy as np
from sklearn.neural_network import MLPClassifier
bridge_net = MLPClassifier((3,), solver='lbfgs', random_state=0).fit(np.eye(4), [0, 1, 0, 1])
")
net <- reticulate::py_eval("bridge_net", convert = FALSE)
x <- steelyard:::to_array(diag(4))

# with a NumPy newer than reticulate, arrays do not arrive as arrays: no function may rely on that
if (numpy_version >= 2 && packageVersion("reticulate") < "1.38") {
  expect_false(plain(reticulate::py_eval("np.ones(2)")), info = "the test below must be able to fail")
}
for (answer in list(bridge$listing(net), bridge$numbers(net), bridge$vector(net), bridge$total(net), bridge$positions(net), bridge$network(net), bridge$notes(net),
                    bridge$assign(net, bridge$vector(net)), bridge$predict(net, x[[1]], x[[2]]), bridge$labels(net, x[[1]], x[[2]]))) {
  expect_true(plain(answer))
}

# and no array goes the other way: every number that R hands over is in a raw vector
expect_true(is.raw(x[[1]]))
expect_true(is.raw(steelyard:::to_raw(1:3)))
expect_identical(steelyard:::from_raw(steelyard:::to_raw(c(1.5, NA, NaN, -Inf, 5e-324))), c(1.5, NA, NaN, -Inf, 5e-324))
sources <- unlist(lapply(ls(asNamespace("steelyard")), function(name) deparse(get(name, asNamespace("steelyard")))))
expect_false(any(grepl("np_array|array_reshape|r_to_py\\((matrix|array|x\\[|as\\.)", sources)))

# NA is not NaN, there and back
numbers <- list(a = c(NA, NaN, 1), b = matrix(c(1, NA), 1))
expect_identical(nn_weights(numbers), numbers)
expect_true(identical(nn_vector(numbers), c(NA, NaN, 1, 1, NA), single.NA = FALSE))

# whole numbers and truth values come as doubles; an array of one axis as a vector
expect_identical(nn_weights(list(n = 1:3, m = array(1:8, c(2, 2, 2)))), list(n = c(1, 2, 3), m = array(as.numeric(1:8), c(2, 2, 2))))
expect_identical(nn_vector(list(matrix(1:6, 2)), order = "C"), c(1, 3, 5, 2, 4, 6))

# what Python refuses is an R error of one line
for (refused in list("no such file.rds", quote(a + b), reticulate::py_eval("len", convert = FALSE))) {
  message <- tryCatch(nn_vector(refused), error = conditionMessage)
  expect_true(is.character(message) && length(message) == 1 && !grepl("\n|Traceback", message))
}
expect_error(nn_vector("no such file.rds"), "no such file.rds: No such file or directory")
expect_error(nn_vector(NULL), "NULL has no weights")
expect_error(nn_vector(list(net, 1:3)), "mixes Python objects with R's")

# a list of Python objects is one model
expect_identical(nn_vector(list(a = net, b = net)), nn_vector(net))
expect_identical(nn_summary(list(a = net, b = net))$tied[5], "a.coefs_.0")

# training data and environments stay in R
hidden <- local({ secret <- runif(1e5); function(x) x * secret })
fit <- structure(list(wts = c(1, 2), call = quote(f(x)), data = data.frame(x = runif(1e5)), act.fct = structure(hidden, type = "tanh")), class = "nn")
stripped <- steelyard:::without_data(fit)
expect_identical(names(stripped), c("wts", "act.fct"))
expect_identical(class(stripped), "nn")
expect_identical(attr(stripped$act.fct, "type"), "tanh")
expect_true(length(serialize(stripped, NULL)) < 5000)
expect_identical(fit$data, data.frame(x = fit$data$x), info = "the fit itself is left as it is")
