# The names of a network's inputs and outputs.

input_names <- function(x, count, given = NULL) {
  known <- if (inherits(x, "nnet")) x$coefnames else said_names(x, "inputs")
  if (inherits(x, "train")) return(input_names(x$finalModel, count, given))
  named(given, known, count, "x")
}

output_names <- function(x, count, given = NULL) {
  known <- if (inherits(x, "nnet")) net_outputs(x) else said_names(x, "outputs")
  if (inherits(x, "train")) return(output_names(x$finalModel, count, given))
  named(given, known, count, "y")
}

# The classes if the net has one output unit for each, or the variable that a single unit predicts.
net_outputs <- function(x) {
  if (inherits(x, "multinom") && length(x$lab) == x$n[3L]) return(x$lab)
  if (!is.null(colnames(x$fitted.values))) return(colnames(x$fitted.values))
  if (x$n[3L] == 1L && length(x$lev) == 2L) return(x$lev[2L])
  if (x$n[3L] == 1L && length(x$terms) == 3L) return(deparse(x$terms[[2L]], nlines = 1L))
  if (length(x$lev) == x$n[3L]) x$lev
}

named <- function(given, known, count, letter) {
  if (!is.null(given) && length(given) != count) {
    stop(length(given), " names are given, but the network has ", count, call. = FALSE)
  }
  if (!is.null(given)) given else if (length(known) == count) known else paste0(letter, seq_len(count))
}

# The names in a file or in another package's fit; a Python model has none.
said_names <- function(x, which) {
  if (is_python(x) || inherits(x, c("train", "avNNet"))) return(NULL)
  if (inherits(x, "nn")) return(x$model.list[[c(inputs = "variables", outputs = "response")[[which]]]])
  as.character(unlist(ask("network", handle(x))[[which]]))
}
