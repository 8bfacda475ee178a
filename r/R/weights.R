# The weights as named arrays or as one vector, and assignment.

nn_weights <- function(model_or_path, pattern = "*") {
  source <- handle(model_or_path)
  facts <- ask("listing", source, pattern)
  stats::setNames(Map(from_array, ask("numbers", source, pattern), facts$shape), as.character(facts$name))
}

nn_vector <- function(x, order = c("R", "C")) {
  from_raw(ask("vector", handle(x), python_order(order)))
}

nn_assign <- function(model, vector, order = c("R", "C")) {
  order <- match.arg(order)
  if (is.list(vector) && !is.object(vector)) {
    vector <- vector_with(model, vector)
    order <- "R"
  }
  if (!is.numeric(vector)) stop("the vector is not numeric but of class ", class(vector)[1L], call. = FALSE)
  if (is_python(model) || (is.list(model) && !is.object(model) && holds_python(model))) {
    ask("assign", handle(model), to_raw(vector), python_order(order))
    return(invisible(model))
  }
  if (is.character(model)) stop("nn_assign() does not change files; read the file, and write another one", call. = FALSE)
  put(model, as.double(vector), order)
}

# R's arrays are column-major, as in Fortran.
python_order <- function(order = c("R", "C")) if (match.arg(order) == "R") "F" else "C"

# The vector of a model with new numbers for the named weights.
vector_with <- function(model, arrays) {
  source <- handle(model)
  known <- as.character(ask("listing", source)$name)
  named <- if (is.null(names(arrays))) rep("", length(arrays)) else names(arrays)
  unknown <- setdiff(named, known)
  if (length(unknown)) stop("no weight is called '", unknown[1L], "'; nothing was changed", call. = FALSE)
  Map(require_shape, named, arrays, nn_weights(model)[match(named, known)])
  places <- lapply(ask("positions", source)[match(named, known)], from_raw)
  vector <- nn_vector(model)
  for (nth in seq_along(arrays)) vector[places[[nth]]] <- arrays[[nth]][places[[nth]] > 0]
  Map(require_put, named, arrays, lapply(places, function(at) ifelse(at > 0, vector[pmax(at, 1)], 0)))
  vector
}

require_shape <- function(name, new, old) {
  if (!is.numeric(new) || !identical(dim(new), dim(old)) || length(new) != length(old)) {
    stop(name, " is ", shape_text(old), ", but the value is ", shape_text(new), "; nothing was changed", call. = FALSE)
  }
}

# A missing connection accepts only a zero, and tied weights only one value.
require_put <- function(name, new, put) {
  if (!identical(as.double(new), as.double(put))) {
    stop(name, " cannot take these numbers: it has missing connections, or shares its numbers with another weight ",
         "that gets different ones; nothing was changed", call. = FALSE)
  }
}

shape_text <- function(x) paste(if (is.null(dim(x))) length(x) else dim(x), collapse = " x ")
