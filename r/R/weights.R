# The weights: as named arrays, as one vector, and back.

nn_weights <- function(model_or_path, pattern = "*") {
  source <- handle(model_or_path)
  facts <- ask("listing", source, pattern)
  stats::setNames(Map(from_array, ask("numbers", source, pattern), facts$shape), as.character(facts$name))
}

nn_vector <- function(x, order = c("R", "C")) {
  from_raw(ask("vector", handle(x), python_order(order)))
}

nn_assign <- function(model, vector, order = c("R", "C")) {
  if (!is.numeric(vector)) stop("the vector is no vector of numbers but of class ", class(vector)[1L], call. = FALSE)
  order <- match.arg(order)
  if (is_python(model) || (is.list(model) && !is.object(model) && holds_python(model))) {
    ask("assign", handle(model), to_raw(vector), python_order(order))
    return(invisible(model))
  }
  if (is.character(model)) stop("a file is not changed by nn_assign(); read it, and write another one", call. = FALSE)
  put(model, as.double(vector), order)
}

# R's arrays run down their columns, as Fortran's do.
python_order <- function(order = c("R", "C")) if (match.arg(order) == "R") "F" else "C"
