# A network as a chain of dense layers, for the diagram and the measures of importance.

# The layers in order, each with its name, kernel (inputs by units), bias (or NULL) and skip kernel (inputs of the
# network by units, or NULL). `layers` picks them by name. Another network raises an error that names the weight.
chain <- function(x, layers = NULL, axes = NULL) {
  facts <- facts_of(x)
  arrays <- nn_weights(x)
  if (!is.null(layers)) {
    unknown <- setdiff(layers, facts$layer)
    if (length(unknown)) stop("no layer is called '", unknown[1L], "'; there are ", toString(unique(facts$layer)), call. = FALSE)
    kept <- facts$layer %in% layers
    facts <- facts[kept, ]
    arrays <- arrays[kept]
  }
  require_dense(facts)
  kernels <- which(facts$role == "kernel" & !is_skip(facts))
  if (!is.null(layers)) kernels <- kernels[order(match(facts$layer[kernels], layers))]
  turned <- turned_kernels(facts, arrays, kernels, axes)
  found <- lapply(seq_along(kernels), function(nth) layer_at(facts, arrays, kernels[nth], turned[nth]))
  require_linked(found)
  found
}

facts_of <- function(x) {
  facts <- ask("listing", handle(x))
  text <- lapply(facts[c("name", "layer", "role", "axes")], function(fact) as.character(unlist(fact)))
  data.frame(text, ndim = lengths(facts$shape), stringsAsFactors = FALSE)
}

is_skip <- function(facts) grepl("(^|\\.)skip$", facts$name) & facts$role == "kernel"

require_dense <- function(facts) {
  other <- which(!(facts$role == "bias" | facts$role == "kernel" & facts$ndim <= 2L & !grepl("[", facts$axes, fixed = TRUE)))
  if (length(other)) {
    first <- facts[other[1L], ]
    stop("the network is not a chain of dense layers: ", first$name, " is a ", first$role, if (nzchar(first$axes)) " of axes ", first$axes,
         "; name the dense layers with `layers`", call. = FALSE)
  }
  if (!any(facts$role == "kernel")) stop("the network has no known kernels", call. = FALSE)
}

# Which kernels have their units along the rows and must be transposed, by their axes or by the order in which they fit together.
turned_kernels <- function(facts, arrays, kernels, axes) {
  words <- facts$axes[kernels]
  if (!is.null(axes)) words[words == ""] <- axes
  if (all(nzchar(words) | facts$ndim[kernels] < 2L)) return(words == "out in")
  unknown <- !nzchar(words)
  fits <- vapply(c("in out", "out in"), function(guess) {
    words[unknown] <- guess
    turned <- words == "out in"
    linked(lapply(seq_along(kernels), function(nth) layer_at(facts, arrays, kernels[nth], turned[nth])))
  }, NA)
  if (sum(fits) == 1L) {
    words[unknown] <- names(fits)[fits]
    return(words == "out in")
  }
  stop("the axes of ", facts$name[kernels[unknown]][1L], " are not known, and its shape fits ", if (any(fits)) "both" else "neither",
       "; pass axes = \"in out\" (Keras, scikit-learn, R) or axes = \"out in\" (PyTorch)", call. = FALSE)
}

layer_at <- function(facts, arrays, place, turned) {
  same <- facts$layer == facts$layer[place]
  kernel <- as.matrix(arrays[[place]])
  if (turned) kernel <- t(kernel)
  list(name = if (nzchar(facts$layer[place])) facts$layer[place] else facts$name[place], kernel = kernel,
       bias = one_of(arrays[same & facts$role == "bias"]), skip = one_of(arrays[same & is_skip(facts)]))
}

one_of <- function(arrays) if (length(arrays)) arrays[[1L]]

fits_layer <- function(layer) is.null(layer$bias) || length(layer$bias) == ncol(layer$kernel)

linked <- function(found) {
  sizes <- vapply(found, function(layer) dim(layer$kernel), c(0L, 0L))
  all(sizes[2L, -ncol(sizes)] == sizes[1L, -1L]) && all(vapply(found, fits_layer, NA))
}

require_linked <- function(found) {
  if (linked(found)) return(invisible())
  sizes <- vapply(found, function(layer) paste0(layer$name, " (", nrow(layer$kernel), " to ", ncol(layer$kernel), ")"), "")
  stop("the sizes of consecutive dense layers do not match: ", paste(sizes, collapse = ", "), "; name those of one chain, in order, with `layers`",
       call. = FALSE)
}
