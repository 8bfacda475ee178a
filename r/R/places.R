# The places of the vector's numbers in an R object, for assignment.

# Put a vector into an R object, and return the changed copy. First, every number of the object's own vector must
# be found at its place, so that no number is written to a wrong place.
put <- function(x, vector, order) {
  boxed <- list(x)
  found <- lapply(places(x), function(place) c(1L, place))
  old <- lapply(found, function(place) boxed[[place]])
  sizes <- lengths(old)
  kind <- class(x)[1L]
  if (length(vector) != sum(sizes)) {
    stop("the vector has ", length(vector), " numbers, but the weights of this ", kind, " take ", sum(sizes), "; nothing was changed",
         call. = FALSE)
  }
  if (!identical(as.double(unlist(old)), nn_vector(x))) {
    stop("the weights of this ", kind, " are not where nn_assign() expects them; nothing was changed", call. = FALSE)
  }
  starts <- cumsum(sizes) - sizes
  for (nth in seq_along(found)) {
    piece <- vector[starts[nth] + seq_len(sizes[nth])]
    boxed[[found[[nth]]]][] <- if (order == "R") piece else by_rows(piece, dim(old[[nth]]))
  }
  boxed[[1L]]
}

# Reorder numbers from row-major order of an array of this shape to R's column-major order.
by_rows <- function(numbers, shape) {
  if (length(shape) < 2L) numbers else as.vector(aperm(array(numbers, rev(shape))))
}

# The places of the weights, in the order of the vector, each as indices for `[[`.
places <- function(x) {
  if (is.numeric(x)) return(list(integer()))
  if (inherits(x, "MLPnet")) return(neuron_places(x))
  fields <- weight_fields(x)
  if (is.character(fields)) fields <- match(fields, names(x))
  unlist(lapply(fields, function(nth) lapply(places(x[[nth]]), function(rest) c(nth, rest))), recursive = FALSE)
}

# The components of an object that contain its weights and nothing else.
weight_fields <- function(x) {
  if (inherits(x, "nnet")) return("wts")
  if (inherits(x, "nn")) return("weights")
  if (inherits(x, "train")) return("finalModel")
  if (inherits(x, "avNNet")) return("model")
  if (is.list(x) && !is.object(x)) return(seq_along(x))
  stop("nn_assign() does not know where an object of class ", class(x)[1L], " keeps its weights; nothing was changed", call. = FALSE)
}

# AMORE's neurons, layer by layer; the first layer is the inputs, which have no weights.
neuron_places <- function(x) {
  neurons <- match("neurons", names(x))
  unlist(lapply(unlist(x$layers[-1L]), function(nth) {
    lapply(match(c("weights", "bias"), names(x$neurons[[nth]])), function(part) c(neurons, nth, part))
  }), recursive = FALSE)
}
