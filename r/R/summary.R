# A table of a model's weights, one per line.

nn_summary <- function(x, pattern = "*") {
  source <- handle(x)
  facts <- ask("listing", source, pattern)
  totals <- ask("total", source)
  text <- function(fact) as.character(unlist(facts[[fact]]))
  table <- data.frame(
    name = text("name"), layer = text("layer"), role = text("role"),
    shape = vapply(facts$shape, function(shape) paste(unlist(shape), collapse = "x"), ""),
    axes = text("axes"), dtype = text("dtype"), size = as.numeric(unlist(facts$size)),
    trainable = c(yes = TRUE, no = FALSE)[text("trainable")], tied = text("tied"),
    row.names = NULL, stringsAsFactors = FALSE
  )
  structure(table, class = c("nn_summary", "data.frame"), parameters = totals[[1L]], buffers = totals[[2L]], other = totals[[3L]],
            bytes = totals[[4L]], amount = ask("amount", source),
            notes = as.character(unlist(ask("notes", source))))
}

format.nn_summary <- function(x, ...) {
  columns <- list(
    name = ifelse(x$name == "", "(unnamed)", x$name), role = x$role, shape = ifelse(x$shape == "", "scalar", x$shape),
    axes = x$axes, dtype = x$dtype, size = formatC(x$size, format = "d", big.mark = ","),
    "tied to" = x$tied
  )
  columns <- columns[vapply(columns, function(column) any(nzchar(column)), NA)]
  lines <- Map(function(head, column) {
    formatC(c(head, column), width = max(nchar(c(head, column))), flag = if (head == "size") "" else "-")
  }, names(columns), columns)
  sub(" +$", "", do.call(paste, c(unname(lines), sep = "  ")))
}

print.nn_summary <- function(x, ...) {
  if (nrow(x)) cat(format(x), "", sep = "\n")
  cat(nrow(x), if (nrow(x) == 1L) "weight" else "weights")
  if (!is.null(attr(x, "parameters"))) {
    cat("; the model has ", attr(x, "amount"), sep = "")
  }
  cat("\n")
  for (note in attr(x, "notes")) cat(note, "\n", sep = "")
  invisible(x)
}
