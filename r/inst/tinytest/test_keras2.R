# A live model of Keras 2, as library(keras) holds it by reticulate, and the same model of Keras 3.

reticulate::py_run_string("
import numpy as np
import tf_keras, keras
def kerases(layers, first):
    return [*first, layers.Dense(3, activation='relu'), layers.LSTM(2, return_sequences=False), layers.Dense(2, activation='softmax')]
tf_keras.utils.set_random_seed(1)
old = tf_keras.Sequential(kerases(tf_keras.layers, [tf_keras.Input((5, 4))]))
new = keras.Sequential(kerases(keras.layers, [keras.Input((5, 4))]))
keras_x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype('float32')
def snippet(model):
    return bytearray(np.concatenate([a.ravel(order='F') for a in model.get_weights()]).astype('<f8').tobytes())
def answer(model):
    return bytearray(np.asarray(model(keras_x)).ravel(order='F').astype('<f8').tobytes())
def keras_inputs():
    return bytearray(keras_x.ravel(order='F').astype('<f8').tobytes())
")
py <- reticulate::py
doubles <- function(bytes) readBin(bytes, "double", length(bytes) / 8, 8, endian = "little")
inputs <- array(doubles(py$keras_inputs()), c(3, 5, 4))

for (name in c("old", "new")) {
  model <- reticulate::py_eval(name, convert = FALSE)
  # as.numeric(unlist(get_weights(model))), R's own snippet, bit for bit
  own <- doubles(py$snippet(model))
  expect_identical(nn_vector(model), own, info = name)
  expect_equal(length(own), 4 * 3 + 3 + 3 * 8 + 2 * 8 + 8 + 2 * 2 + 2, info = name)
  expect_identical(sub(".*/", "", names(nn_weights(model))), c("kernel", "bias", "kernel", "recurrent_kernel", "bias", "kernel", "bias"))

  # the snippet's vector is put back where it came from, and other numbers reach the model
  before <- doubles(py$answer(model))
  nn_assign(model, own)
  expect_identical(doubles(py$snippet(model)), own, info = name)
  expect_equal(doubles(py$answer(model)), before, tolerance = 1e-7, info = name)
  expect_equal(as.numeric(nn_predict(model, inputs)), before, tolerance = 1e-6, info = name)
  nn_assign(model, own * 0.5)
  expect_identical(doubles(py$snippet(model)), own * 0.5, info = name)
  expect_false(isTRUE(all.equal(doubles(py$answer(model)), before)), info = name)
  expect_error(nn_assign(model, own[-1]), "these 7 weights take")
  expect_identical(nn_vector(model), own * 0.5, info = name)
}

# an untrained model of Keras 2 without an input shape has no weights yet
unbuilt <- reticulate::py_eval("tf_keras.Sequential([tf_keras.layers.Dense(2)])", convert = FALSE)
expect_error(nn_vector(unbuilt), "build|input")
