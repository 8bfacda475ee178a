# The average of several networks.

nn_average <- function(models, weights = NULL, decay = NULL, out = NULL) {
  if (is.character(models)) models <- as.list(models)
  if (!is.list(models) || is.object(models) || !length(models)) {
    stop("nn_average() takes a list of models or files; pass list(one, other)", call. = FALSE)
  }
  found <- ask(
    "average", unname(lapply(models, handle)), as.list(as.double(weights)), as.list(as.double(decay)),
    if (is.null(out)) "" else path.expand(out)
  )
  for (note in as.character(unlist(found$notes))) message(note)
  if (!is.null(out)) return(invisible(out))
  stats::setNames(Map(from_array, found$numbers, found$shape), as.character(unlist(found$name)))
}
