# Weights along training: recording them into the folder of a run, and its table.

nn_run <- function(path, every = 1, snapshot = NULL, dtype = NULL, back_to = NULL, settings = NULL) {
  if (!is.character(path) || length(path) != 1L) stop("the path is that of one folder, such as \"runs/a\"", call. = FALSE)
  options <- list(every = every, snapshot = snapshot, dtype = dtype, back_to = back_to, settings = as.list(settings))
  if (length(settings) && (is.null(names(settings)) || any(names(settings) == ""))) {
    stop("each setting has a name, such as settings = list(decay = 0.1)", call. = FALSE)
  }
  options <- lapply(options[lengths(options) > 0L], function(x) if (is.numeric(x)) as.double(x) else x)
  structure(list(path = path, recorder = ask("recorder", path.expand(path), options)), class = "nn_run")
}

print.nn_run <- function(x, ...) {
  cat("a run, recorded into ", x$path, "\n", sep = "")
  invisible(x)
}

close.nn_run <- function(con, ...) {
  tryCatch(con$recorder$close(), python.builtin.BaseException = function(e) refuse(e), "C++Error" = function(e) refuse(e))
  invisible(con)
}

nn_record <- function(run, fit, step = NULL, epoch = NULL, metrics = NULL, snapshot = FALSE) {
  require_run(run)
  metrics <- as.list(metrics)
  if (length(metrics) && (is.null(names(metrics)) || any(names(metrics) == ""))) {
    stop("each metric has a name, such as metrics = c(loss = fit$value)", call. = FALSE)
  }
  odd <- !vapply(metrics, function(x) is.numeric(x) && length(x) == 1L, NA)
  if (any(odd)) stop("the metric ", names(metrics)[odd][1L], " is not one number", call. = FALSE)
  metrics <- if (length(metrics)) lapply(metrics, as.double) else reticulate::dict()
  invisible(ask("recorded", run$recorder, handle(fit), as.list(as.double(step)), as.list(as.double(epoch)), metrics, isTRUE(snapshot)))
}

nn_callback <- function(run, each = c("epoch", "batch")) {
  require_run(run)
  ask("callback", run$recorder, match.arg(each))
}

nn_history <- function(run) {
  path <- if (inherits(run, "nn_run")) run$path else run
  if (!is.character(path) || length(path) != 1L) stop("pass a run of nn_run(), or the path of its folder", call. = FALSE)
  columns <- ask("past", path.expand(path))
  table <- lapply(columns, function(column) if (is.raw(column)) from_raw(column) else as.character(unlist(column)))
  table <- lapply(table, function(column) replace(column, is.nan(if (is.numeric(column)) column else 0), NA))
  as.data.frame(table, stringsAsFactors = FALSE)
}

require_run <- function(run) {
  if (!inherits(run, "nn_run")) stop("the run is what nn_run() returns, as in run <- nn_run(\"runs/a\")", call. = FALSE)
}
