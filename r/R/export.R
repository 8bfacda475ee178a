# The weights of a network, or all that it computes, in the language of a device.

nn_export <- function(x, file, forward = FALSE, probe = NULL, name = "net", ...) {
  if (!is.character(file) || length(file) != 1L) stop("the file is one path, such as \"net.h\"", call. = FALSE)
  if (!is.null(probe) && !forward) stop("a probe is for a forward pass; pass forward = TRUE", call. = FALSE)
  examples <- if (is.null(probe)) list() else lapply(proof_of(x, probe), to_array)
  options <- c(list(name = name), list(...))
  if (is.null(names(options)) || any(names(options) == "")) stop("each option has a name, such as dtype = \"float32\"", call. = FALSE)
  found <- ask("export", handle(x), path.expand(file), isTRUE(forward), examples, options)
  for (note in as.character(unlist(found$notes))) message(note)
  invisible(as.character(unlist(found$files)))
}

# The examples and the outputs of a fit for them; a Python model is run by Python, and a file is not run.
proof_of <- function(x, probe) {
  examples <- list(examples_of(x, probe))
  if (is_python(x) || is.character(x)) return(examples)
  outputs <- nn_predict(x, probe)
  kept <- stats::complete.cases(outputs)
  c(examples, list(outputs[kept, , drop = FALSE]))
}

# The examples as the network itself takes them: coded by a formula, selected by name, prepared as caret does.
examples_of <- function(x, probe) {
  if (inherits(x, "train")) return(examples_of(x$finalModel, prepared(x, probe)))
  if (inherits(x, "nnet")) {
    design <- design_of(x, probe)
    return(design$x)
  }
  x_names <- if (inherits(x, "nn")) x$model.list$variables
  examples <- numbers_of(probe)
  if (is.null(dim(examples))) dim(examples) <- c(1L, length(examples))
  if (length(x_names) && all(x_names %in% colnames(examples))) examples[, x_names, drop = FALSE] else examples
}
