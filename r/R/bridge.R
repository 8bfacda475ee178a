# The bridge from R to Python. Numbers cross as raw bytes only: if NumPy is newer than reticulate, arrays
# cross unconverted and without an error, so none is ever passed or returned.

kept <- new.env(parent = emptyenv())

# The Python module of the bridge, loaded once.
bridge <- function() {
  if (is.null(kept$bridge)) {
    kept$bridge <- tryCatch(
      reticulate::import("steelyard.rbridge"),
      error = function(e) {
        stop("the Python library 'steelyard' was not found (", first_line(conditionMessage(e)), "); install it with pip, ",
             "and point R to the Python that has it: Sys.setenv(RETICULATE_PYTHON = \"/path/to/python\")", call. = FALSE)
      }
    )
  }
  kept$bridge
}

# Call a function of the bridge; a Python error becomes an R error with the same message.
ask <- function(name, ...) {
  tryCatch(
    bridge()[[name]](...),
    python.builtin.BaseException = function(e) refuse(e),
    "C++Error" = function(e) refuse(e)
  )
}

refuse <- function(error) stop(sub("^[[:alnum:]_.]+: ", "", first_line(conditionMessage(error))), call. = FALSE)

first_line <- function(text) sub("\n.*$", "", sub("^\\s+", "", text))

# Convert `x` for Python: to a path, a Python object, or the bytes of `serialize` for an R object.
handle <- function(x) {
  if (is_python(x)) return(x)
  if (is.character(x) && length(x) == 1L && !is.object(x)) return(path.expand(x))
  if (inherits(x, "nn_module")) x <- torch_arrays(x)
  if (is.list(x) && !is.object(x) && holds_python(x)) return(as_python(x))
  if (is.null(x)) stop("NULL has no weights; pass a model, a file, or a list of arrays", call. = FALSE)
  serialize(without_data(x), NULL, version = 2)
}

is_python <- function(x) inherits(x, "python.builtin.object")

holds_python <- function(x) any(vapply(x, function(part) is_python(part) || (is.list(part) && !is.object(part) && holds_python(part)), NA))

# Convert a list of only Python objects to a Python list or dict.
as_python <- function(x) {
  mixed <- !vapply(x, function(part) is_python(part) || (is.list(part) && !is.object(part)), NA)
  if (any(mixed)) {
    stop("a list mixes Python objects with R's (element ", which(mixed)[1L], "); pass each by itself", call. = FALSE)
  }
  x <- lapply(x, function(part) if (is_python(part)) part else as_python(part))
  if (is.null(names(x))) reticulate::r_to_py(unname(x)) else reticulate::r_to_py(x)
}

# The tensors of a module of R's own torch, to which Python has no access.
torch_arrays <- function(x) lapply(x$state_dict(), function(tensor) torch::as_array(tensor$detach()$cpu()))

# Doubles to bytes and back: 8 bytes a number, little-endian.
to_raw <- function(x) writeBin(as.double(x), raw(), endian = "little")

from_raw <- function(bytes) readBin(bytes, "double", n = length(bytes) / 8, size = 8, endian = "little")

# Convert an array for Python: its bytes by columns, and its shape. A vector has one axis.
to_array <- function(x) {
  shape <- dim(x)
  list(to_raw(x), as.list(as.double(if (is.null(shape)) length(x) else shape)))
}

# Make an R array from bytes by columns; with one axis it is a plain vector.
from_array <- function(bytes, shape) {
  numbers <- from_raw(bytes)
  if (length(shape) > 1L) array(numbers, as.integer(shape)) else numbers
}

# R fits contain their training data, and environments with arbitrary objects; neither leaves R.
data_fields <- c("fitted.values", "residuals", "call", "terms", "data", "covariate", "response", "net.result",
                 "generalized.weights", "startweights", "resample", "pred", "control", "modelInfo", "dots", "ptype",
                 "na.action", "model.list")
data_attributes <- c("x", "y", "y.pred", ".Environment", "srcref")

without_data <- function(x) {
  if (is.primitive(x) || isS4(x)) return(x)
  facts <- attributes(x)
  if (is.function(x)) {
    environment(x) <- globalenv()
  } else if (is.list(x) && !is.data.frame(x)) {
    data <- is.object(x) & (names(x) %in% c(data_fields, if (inherits(x, "nnet")) "weights") | vapply(x, function(part) !isS4(part) && is.data.frame(part), NA))
    if (any(data)) facts$names <- facts$names[!data]
    x <- lapply(if (any(data)) unclass(x)[!data] else unclass(x), without_data)
  } else {
    return(x)
  }
  attributes(x) <- facts[!names(facts) %in% data_attributes]
  x
}
