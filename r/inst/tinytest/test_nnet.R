# nnet and multinom: the vector is their own, and predictions are theirs to the last bit.

library(nnet)
folder <- file.path(Sys.getenv("STEELYARD_FITS"), "nnet")
expect_true(dir.exists(folder), info = "STEELYARD_FITS must name the folder with the fits")

fits <- sub("\\.json$", "", list.files(folder, "^(nnet|multinom)_.*\\.json$"))
expect_true(length(fits) >= 23)
for (name in fits) {
  path <- file.path(folder, paste0(name, ".rds"))
  fit <- readRDS(path)
  facts <- jsonlite::fromJSON(file.path(folder, paste0(name, ".json")))
  expect_identical(nn_vector(fit), fit$wts, info = name)
  expect_identical(nn_vector(path), fit$wts, info = name)
  expect_identical(nn_assign(nn_assign(fit, fit$wts * 2), fit$wts), fit, info = name)
  w <- nn_weights(fit)
  expect_identical(nn_weights(path), w, info = name)
  expected <- list(
    hidden.kernel = facts$layers$hidden$kernel, hidden.bias = facts$layers$hidden$bias,
    output.kernel = if (fit$n[2]) facts$layers$output$kernel else facts$layers$skip$kernel,
    output.bias = facts$layers$output$bias, output.skip = if (fit$n[2]) facts$layers$skip$kernel
  )
  expect_identical(w, lapply(expected[lengths(expected) > 0], `+`, 0), info = name) # + 0: JSON's whole numbers as doubles
  # what R's own predict gave for the design matrix, from the live fit's weights and from the file's
  if (is.null(fit$mask)) expect_identical(unname(steelyard:::nnet_outputs(fit, facts$inputs)), facts$raw, info = name)
  expect_equal(unname(nn_predict(path, facts$inputs)), facts$raw, tolerance = 1e-14, info = name)
}

set.seed(7)
data <- data.frame(x1 = rnorm(80), x2 = runif(80), f = factor(sample(c("u", "v", "w"), 80, TRUE)))
data$y <- data$x1 * 2 + sin(data$x2 * 3) + rnorm(80, sd = 0.1)
data$two <- factor(ifelse(data$y > 0, "yes", "no"))
data$three <- cut(data$y, 3, labels = c("low", "mid", "high"))
new <- data.frame(x1 = c(rnorm(9), NA), x2 = runif(10), f = factor(c("u", "v", "w", "u", "v", "w", "u", "v", "w", "u")))
quiet <- function(...) nnet(..., trace = FALSE)

live <- list(
  regression = quiet(y ~ x1 + x2 + f, data, size = 3, linout = TRUE),
  skip = quiet(y ~ x1 * f + poly(x2, 2), data, size = 2, skip = TRUE, linout = TRUE),
  no_hidden = quiet(y ~ x1 + x2, data, size = 0, skip = TRUE, linout = TRUE),
  two = quiet(two ~ x1 + x2 + f, data, size = 2),
  three = quiet(three ~ x1 + x2, data, size = 3),
  skip_three = quiet(three ~ x1 + f, data, size = 2, skip = TRUE),
  censored = quiet(class.ind(three) ~ x1 + x2, data, size = 2, censored = TRUE),
  saturated = quiet(two ~ I(50 * x1) + x2, data, size = 2, maxit = 500),
  multinom_two = multinom(two ~ x1 + f, data, trace = FALSE),
  multinom_three = multinom(three ~ x1 + x2, data, trace = FALSE)
)
for (name in names(live)) {
  fit <- live[[name]]
  raw <- nn_predict(fit, new)
  own <- predict(fit, new, type = if (inherits(fit, "multinom")) "probs" else "raw")
  if (inherits(fit, "multinom")) raw <- drop(raw)
  expect_identical(raw, own, info = name)
  expect_true(all(is.na(if (is.null(dim(raw))) raw[10] else raw[10, ])), info = name)
  if (length(fit$lev)) {
    expect_identical(nn_predict(fit, new, "class")[1:9], as.character(predict(fit, new, type = "class"))[1:9], info = name)
  }
  changed <- nn_assign(fit, fit$wts / 2)
  expect_identical(drop(nn_predict(changed, new)), drop(predict(changed, new, type = if (inherits(fit, "multinom")) "probs" else "raw")))
  expect_false(identical(nn_predict(changed, new), nn_predict(fit, new)), info = name)
}
by_matrix <- quiet(as.matrix(data[1:2]), data$y, size = 2, linout = TRUE)
expect_identical(nn_predict(by_matrix, as.matrix(new[1:9, 1:2])), predict(by_matrix, as.matrix(new[1:9, 1:2])))
expect_error(nn_predict(by_matrix, as.matrix(new[1:2])), "missing values")
expect_error(nn_predict(by_matrix, diag(3)), "3 inputs, but the net has 2")

# R semantics: the fit that was given stays as it was
fit <- live$regression
before <- fit
other <- nn_assign(fit, seq_along(fit$wts) / 10)
expect_identical(fit, before)
expect_identical(other$wts, seq_along(fit$wts) / 10)
expect_identical(other[setdiff(names(fit), "wts")], fit[setdiff(names(fit), "wts")])
expect_error(nn_assign(fit, 1:3), "the vector has 3 numbers, but the weights of this nnet.formula take 19")
expect_error(nn_assign(fit, "a"), "not numeric")

# a list by name goes back too, in whole or in part
w <- nn_weights(fit)
expect_identical(nn_assign(fit, w), fit)
w$output.kernel[2, 1] <- 42
changed <- nn_assign(fit, w["output.kernel"])
expect_identical(nn_weights(changed), w)
expect_identical(sum(changed$wts != fit$wts), 1L)
expect_error(nn_assign(fit, list(output.kernel = 1)), "output.kernel is 3 x 1, but the value is 1")
expect_error(nn_assign(fit, list(output = 1)), "no weight is called 'output'")
expect_error(nn_assign(fit, list(1)), "no weight is called")
sparse <- readRDS(file.path(dirname(folder), "hostile", "nnet_sparse_conn.rds"))
w <- nn_weights(sparse)
expect_identical(nn_assign(sparse, lapply(w, `*`, 2))$wts, sparse$wts * 2)
expect_error(nn_assign(sparse, lapply(w, `+`, 1)), "missing connections")

# the same object in every container that R writes; plain ascii has lost digits
containers <- list.files(file.path(folder, "containers"), "rds$|RData$", full.names = TRUE)
containers <- containers[!grepl("ascii\\.|ascii_gz|^v1", basename(containers))]
for (start in c("m_v", "three_v")) {
  vectors <- lapply(containers[startsWith(basename(containers), start)], nn_vector)
  expect_true(length(vectors) >= 8)
  for (vector in vectors) expect_identical(vector, vectors[[1]])
}
