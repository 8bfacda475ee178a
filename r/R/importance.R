# The importance of each input for each output (Olden; Garson).

nn_importance <- function(x, method = c("olden", "garson"), layers = NULL, axes = NULL, inputs = NULL, outputs = NULL) {
  method <- match.arg(method)
  found <- chain(x, layers, axes)
  shares <- if (method == "garson") lapply(found, layer_shares) else found
  through <- NULL
  for (layer in shares) {
    through <- if (is.null(through)) layer$kernel else through %*% layer$kernel
    if (!is.null(layer$skip)) through <- through + layer$skip
  }
  if (method == "garson") through <- columns_to_one(through)
  dimnames(through) <- list(input_names(x, nrow(through), inputs), output_names(x, ncol(through), outputs))
  through
}

# The connections of each unit as shares of the sum of their magnitudes, including skip connections.
layer_shares <- function(layer) {
  total <- colSums(abs(layer$kernel)) + if (is.null(layer$skip)) 0 else colSums(abs(layer$skip))
  list(kernel = over(layer$kernel, total), skip = if (!is.null(layer$skip)) over(layer$skip, total))
}

over <- function(kernel, total) sweep(abs(kernel), 2L, ifelse(total > 0, total, 1), `/`)

columns_to_one <- function(shares) sweep(shares, 2L, colSums(shares), `/`)
