# Predictions from the weights, with additions in the order of the package that made the fit.

nn_predict <- function(x, newdata, type = c("raw", "class"), rep = 1) {
  type <- match.arg(type)
  if (is_python(x)) return(predict_python(x, newdata, type))
  if (inherits(x, "train")) return(nn_predict(x$finalModel, prepared(x, newdata), type))
  if (inherits(x, "avNNet")) return(predict_members(x, newdata, type))
  if (inherits(x, "nnet")) return(predict_nnet(x, newdata, type))
  if (inherits(x, "nn")) return(predict_neuralnet(x, newdata, type, rep))
  predict_described(x, newdata, type)
}

predict_python <- function(model, newdata, type) {
  x <- to_array(numbers_of(newdata))
  if (type == "class") {
    found <- as.character(unlist(ask("labels", model, x[[1L]], x[[2L]])))
    if (length(found)) return(found)
  }
  answer <- ask("predict", model, x[[1L]], x[[2L]])
  values <- from_array(answer$values, answer$shape)
  classes <- as.character(unlist(answer$classes))
  if (length(classes) && length(dim(values)) == 2L) colnames(values) <- classes
  if (type == "raw") values else class_of(values, NULL)
}

# Convert new data to a numeric array; a data frame becomes a matrix.
numbers_of <- function(newdata) {
  x <- if (is.data.frame(newdata)) as.matrix(newdata) else newdata
  if (!is.numeric(x) && !is.logical(x)) stop("the new data are ", typeof(x), ", not numeric; convert them to numbers first", call. = FALSE)
  x
}

# nnet and multinom ---------------------------------------------------------------------------------------------

predict_nnet <- function(fit, newdata, type) {
  design <- design_of(fit, newdata)
  raw <- matrix(NA_real_, design$count, fit$n[3L], dimnames = list(design$rows, colnames(fit$fitted.values)))
  raw[design$keep, ] <- nnet_outputs(fit, design$x)
  if (type == "raw") raw else class_of(raw, if (length(fit$lev)) fit$lev else fit$lab)
}

# The inputs that the formula makes from new data, and the rows that have them: those without missing values.
design_of <- function(fit, newdata) {
  if (is.null(fit$terms)) {
    if (is.null(dim(newdata))) dim(newdata) <- c(1L, length(newdata))
    x <- as.matrix(newdata)
    if (anyNA(x)) stop("the new data have missing values, and this fit has no formula that omits such rows", call. = FALSE)
    return(list(x = x, keep = seq_len(nrow(x)), rows = rownames(x), count = nrow(x)))
  }
  newdata <- as.data.frame(newdata)
  terms <- stats::delete.response(fit$terms)
  frame <- stats::model.frame(terms, newdata, na.action = stats::na.omit, xlev = fit$xlevels)
  if (!is.null(attr(terms, "dataClasses"))) stats::.checkMFClasses(attr(terms, "dataClasses"), frame)
  x <- stats::model.matrix(terms, frame, contrasts.arg = fit$contrasts)
  if (!inherits(fit, "multinom")) x <- x[, colnames(x) != "(Intercept)", drop = FALSE]
  list(x = x, keep = match(row.names(frame), row.names(newdata)), rows = row.names(newdata), count = nrow(newdata))
}

# The outputs for each row, with the connections added in the same order as in nnet.
nnet_outputs <- function(fit, x) {
  weights <- nn_vector(fit)
  first <- 1L + fit$n[1L]
  if (ncol(x) != fit$n[1L]) stop("the new data have ", ncol(x), " inputs, but the net has ", fit$n[1L], call. = FALSE)
  units <- cbind(1, x, matrix(0, nrow(x), fit$nunits - first), deparse.level = 0)
  for (unit in first + seq_len(fit$nunits - first)) {
    total <- numeric(nrow(x))
    for (place in fit$nconn[unit] + seq_len(fit$nconn[unit + 1L] - fit$nconn[unit])) {
      total <- total + weights[place] * units[, fit$conn[place] + 1L]
    }
    units[, unit] <- if (unit <= fit$nsunits) nnet_sigmoid(total) else total
  }
  outputs <- units[, fit$nunits - fit$n[3L] + seq_len(fit$n[3L]), drop = FALSE]
  if (isTRUE(fit$softmax) || isTRUE(fit$censored)) softmax(outputs) else outputs
}

# nnet's own sigmoid is 0 below -15 and 1 above 15.
nnet_sigmoid <- function(x) ifelse(x < -15, 0, ifelse(x > 15, 1, 1 / (1 + exp(-x))))

softmax <- function(x) {
  powers <- exp(x - do.call(pmax, as.data.frame(x)))
  total <- numeric(nrow(x))
  for (unit in seq_len(ncol(x))) total <- total + powers[, unit]
  powers / total
}

# The class of each row: that of the largest output, or of a single output by the threshold 1/2.
class_of <- function(raw, levels) {
  if (is.null(dim(raw))) raw <- matrix(raw)
  if (is.null(levels)) levels <- if (is.null(colnames(raw))) as.character(seq_len(max(ncol(raw), 2L))) else colnames(raw)
  if (ncol(raw) == 1L) levels[1L + (raw[, 1L] > 0.5)] else levels[max.col(raw, "first")]
}

# caret ---------------------------------------------------------------------------------------------------------

# Prepare new data as `train` does for its inner fit: coded by the formula, then centred and scaled.
prepared <- function(fit, newdata) {
  if (!is.null(fit$terms)) {
    terms <- stats::delete.response(fit$terms)
    frame <- stats::model.frame(terms, newdata, na.action = stats::na.omit, xlev = fit$xlevels)
    x <- stats::model.matrix(terms, frame, contrasts.arg = fit$contrasts)
    newdata <- x[, colnames(x) != "(Intercept)", drop = FALSE]
  }
  steps <- fit$preProcess
  other <- setdiff(names(steps$method), c("center", "scale", "ignore"))
  if (length(other)) stop("this fit preprocesses its data with ", toString(other), ", which nn_predict() does not support", call. = FALSE)
  x <- as.data.frame(newdata)
  x[names(steps$mean)] <- Map(`-`, x[names(steps$mean)], steps$mean)
  x[names(steps$std)] <- Map(`/`, x[names(steps$std)], steps$std)
  x
}

# The mean of the members' outputs.
predict_members <- function(fit, newdata, type) {
  if (!is.null(fit$terms)) newdata <- prepared(list(terms = fit$terms, xlevels = fit$xlevels, contrasts = fit$contrasts), newdata)
  members <- lapply(fit$model, predict_nnet, newdata, "raw")
  raw <- Reduce(`+`, members) / length(members)
  if (type == "raw") raw else class_of(raw, fit$model[[1L]]$lev)
}

# neuralnet -----------------------------------------------------------------------------------------------------

predict_neuralnet <- function(fit, newdata, type, rep) {
  if (is.null(fit$weights)) stop("this fit did not converge and has no weights", call. = FALSE)
  if (!rep %in% seq_along(fit$weights)) stop("the fit has ", length(fit$weights), " repetitions, but not number ", rep, call. = FALSE)
  x <- numbers_of(newdata)
  wanted <- fit$model.list$variables
  if (all(wanted %in% colnames(x))) x <- x[, wanted, drop = FALSE]
  fit$weights <- fit$weights[rep]
  layers <- chain(fit)
  for (nth in seq_along(layers)) {
    x <- cbind(1, x) %*% rbind(layers[[nth]]$bias, layers[[nth]]$kernel)
    if (nth < length(layers)) x <- fit$act.fct(x)
  }
  raw <- if (fit$linear.output) x else if (is.null(fit$output.act.fct)) fit$act.fct(x) else fit$output.act.fct(x)
  dimnames(raw) <- NULL
  if (type == "raw") raw else class_of(raw, if (ncol(raw) > 1L) fit$model.list$response)
}

# Others, and files -----------------------------------------------------------------------------------------------

# Predictions by the description of the network, for R fits of other packages and their files.
predict_described <- function(x, newdata, type) {
  facts <- ask("network", handle(x))
  steps <- lapply(activations(facts), function(word) activation(word, facts$cut))
  if (!is.null(facts$unusual)) stop("this network uses ", facts$unusual, ", which nn_predict() does not support", call. = FALSE)
  layers <- chain(x)
  first <- described_inputs(facts, newdata, nrow(layers[[1L]]$kernel))
  values <- first
  for (nth in seq_along(layers)) {
    step <- if (nth < length(layers)) steps[[1L]] else steps[[2L]]
    values <- step(weighed(layers[[nth]], values, first))
  }
  if (length(facts$target_scale)) values <- sweep(sweep(values, 2L, facts$target_scale, `*`), 2L, facts$target_center, `+`)
  if (length(facts$outputs) == ncol(values)) colnames(values) <- facts$outputs
  if (type == "raw") values else class_of(values, if (length(facts$outputs) > 1L) facts$outputs)
}

activations <- function(facts) {
  if (!is.null(facts$several)) stop("there are ", facts$several, " networks; pass one of them to nn_predict()", call. = FALSE)
  if (is.null(facts$output)) {
    stop("the function of these weights is not known; pass the fit or the model to which they belong", call. = FALSE)
  }
  hidden <- if (is.null(facts$hidden)) "linear" else unlist(facts$hidden)
  if (length(hidden) > 1L) stop("the hidden layers have different activations: ", toString(hidden), call. = FALSE)
  c(hidden, facts$output)
}

activation <- function(word, cut) {
  known <- list(
    linear = identity,
    logistic = if (is.null(cut)) function(x) 1 / (1 + exp(-x)) else nnet_sigmoid,
    softmax = softmax,
    tanh = tanh,
    "tanh(x/2)" = function(x) tanh(x / 2),
    tansig = function(x) 1.71590470857554 * tanh(2 * x / 3), # AMORE's constant
    relu = function(x) pmax(x, 0)
  )
  if (is.null(known[[word]])) stop("nn_predict() does not know the activation '", word, "'", call. = FALSE)
  known[[word]]
}

# Prepare new data for the network: select its inputs by name, centre and scale them.
described_inputs <- function(facts, newdata, count) {
  x <- numbers_of(newdata)
  if (is.null(dim(x))) dim(x) <- c(1L, length(x))
  wanted <- as.character(unlist(facts$inputs))
  if (length(wanted) && all(wanted %in% colnames(x))) x <- x[, wanted, drop = FALSE]
  if (ncol(x) != count) stop("the new data have ", ncol(x), " inputs, but the net has ", count, call. = FALSE)
  if (length(facts$center)) x <- sweep(x, 2L, facts$center, `-`)
  if (length(facts$scale)) x <- sweep(x, 2L, facts$scale, `/`)
  unname(x)
}

# The net input of each unit: bias, connections and skip connections, added one by one as in nnet.
weighed <- function(layer, values, first) {
  terms <- rbind(layer$bias, layer$kernel, layer$skip)
  from <- cbind(if (!is.null(layer$bias)) 1, values, if (!is.null(layer$skip)) first, deparse.level = 0)
  total <- matrix(0, nrow(values), ncol(terms))
  for (place in seq_len(nrow(terms))) total <- total + outer(from[, place], terms[place, ])
  total
}
