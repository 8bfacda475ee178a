# Weights along training: fits of nnet in parts, and Keras by its callback.

library(nnet)
folder <- tempfile("run")
run <- nn_run(folder, snapshot = 2)
expect_identical(capture.output(print(run)), paste("a run, recorded into", folder))
set.seed(1)
fit <- nnet(Species ~ ., iris, size = 2, maxit = 0, trace = FALSE)
fits <- list()
for (step in 0:4) {
  nn_record(run, fit, step, epoch = step / 2, metrics = c(loss = fit$value))
  fits[[step + 1]] <- fit
  fit <- nnet(Species ~ ., iris, size = 2, maxit = 3, Wts = fit$wts, trace = FALSE)
}

marked <- nn_run(tempfile(), settings = list(size = 2, decay = 0.5, method = "BFGS"))
nn_record(marked, fit, 1)
layout <- paste(readLines(file.path(marked$path, "run.json"), warn = FALSE), collapse = "")
expect_true(grepl("\"settings\": \\{ *\"size\": 2, *\"decay\": 0.5, *\"method\": \"BFGS\" *\\}", layout))
expect_error(nn_run(tempfile(), settings = list(1)), "each setting has a name")
close(marked)

# a record is there as soon as it was made: no thread of Python is needed for it
h <- nn_history(run)
expect_identical(nrow(h), 5L * length(nn_weights(fit)))
expect_identical(unique(h$weight), names(nn_weights(fit)))
kernel <- h[h$weight == "hidden.kernel", ]
arrays <- lapply(fits, function(each) nn_weights(each)[["hidden.kernel"]])
expect_identical(kernel$step, as.double(0:4))
expect_identical(kernel$epoch, 0:4 / 2)
expect_identical(kernel$metric.loss, vapply(fits, function(each) each$value, 0))
expect_equal(kernel$l2, vapply(arrays, function(x) sqrt(sum(x^2)), 0), tolerance = 1e-14)
moved <- c(NA, vapply(2:5, function(n) sqrt(sum((arrays[[n]] - arrays[[n - 1]])^2)), 0))
expect_equal(kernel$update, moved, tolerance = 1e-12)
expect_identical(kernel$max, vapply(arrays, max, 0))

# snapshots give the fit of a step back, bit for bit
kept <- list.files(file.path(folder, "w"), full.names = TRUE)
expect_identical(basename(kept), sprintf("%08d.safetensors", c(0, 2, 4)))
expect_identical(nn_assign(fit, nn_weights(kept[2]))$wts, fits[[3]]$wts)

# the run goes on by itself, refuses what does not fit, and says so
expect_identical(nn_record(run, fit, snapshot = TRUE), 5L)
expect_error(nn_record(run, fit, step = 3), "not after step 5")
other <- nnet(Species ~ ., iris, size = 3, maxit = 0, trace = FALSE)
expect_error(nn_record(run, other), "hidden.kernel is float64 .4, 3., in the run float64 .4, 2.")
expect_error(nn_record(run, fit, metrics = 1), "each metric has a name")
expect_error(nn_record(run, fit, metrics = list(loss = 1:2)), "loss is not one number")
expect_error(nn_record(folder, fit), "what nn_run.. returns")
expect_error(nn_run(folder), "another")
expect_identical(close(run), run)
expect_error(nn_record(run, fit), "is closed")
expect_error(nn_run(folder, snapshot = "sometimes"), "snapshot")
expect_error(nn_history(tempfile()), "neither|no such|no recorded run|no file")
again <- nn_run(folder, back_to = 2)
expect_identical(nn_record(again, fits[[4]]), 3L)
close(again)
expect_identical(unique(nn_history(folder)$step), as.double(0:3))

# Keras 2 and Keras 3, as library(keras) and library(keras3) call them
reticulate::py_run_string("
import numpy as np
import tf_keras, keras
recorded_x = np.random.default_rng(0).normal(size=(32, 4)).astype('float32')
recorded_y = (recorded_x[:, :1] > 0).astype('float32')
def compiled(kind):
    model = kind.Sequential([kind.Input((4,)), kind.layers.Dense(3, activation='tanh'), kind.layers.Dense(1)])
    model.compile('sgd', 'mse')
    return model
def fitted(model, callbacks):
    history = model.fit(recorded_x, recorded_y, epochs=2, batch_size=16, validation_split=0.5, verbose=0, callbacks=list(callbacks))
    return [float(loss) for loss in history.history['val_loss']]
")
for (kind in c("tf_keras", "keras")) {
  model <- reticulate::py_eval(sprintf("compiled(%s)", kind), convert = FALSE)
  epochs <- nn_run(tempfile(), snapshot = "epoch")
  batches <- nn_run(tempfile())
  losses <- reticulate::py$fitted(model, list(nn_callback(epochs), nn_callback(batches, "batch")))
  h <- nn_history(epochs)
  expect_identical(unique(h$weight), names(nn_weights(model)), info = kind)
  expect_identical(h$metric.val_loss[h$weight == h$weight[1]], as.numeric(unlist(losses)), info = kind)
  last <- file.path(epochs$path, "w", "00000002.safetensors")
  expect_identical(unname(nn_weights(last)), unname(nn_weights(model)), info = kind)
  expect_identical(unique(nn_history(batches)$step), as.double(1:2), info = kind)
  close(epochs)
  close(batches)
}
