# Zeros for the smallest numbers of a network.

nn_prune <- function(x, amount = NULL, by = c("global", "layer", "out", "in"), pattern = NULL, select = NULL, out = NULL) {
  if (is.null(amount) == is.null(pattern)) stop("pass either an amount such as 0.8, or a pattern such as \"2:4\"", call. = FALSE)
  if (!is.null(amount) && !(is.numeric(amount) && length(amount) == 1L)) stop("the amount is one number from 0 to 1", call. = FALSE)
  found <- ask(
    "prune", handle(x), if (is.null(amount)) 0 else as.double(amount), match.arg(by), if (is.null(pattern)) "" else pattern,
    as.list(as.character(select)), if (is.null(out)) "" else path.expand(out)
  )
  for (note in as.character(unlist(found$notes))) message(note)
  if (!is.null(out)) return(invisible(out))
  stats::setNames(Map(from_array, found$numbers, found$shape), as.character(unlist(found$name)))
}
