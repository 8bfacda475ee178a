# neuralnet, caret, AMORE, monmlp: the vector is what each package's own code gives.

folder <- file.path(Sys.getenv("STEELYARD_FITS"), "other")
fixture <- function(name) readRDS(file.path(folder, paste0(name, ".rds")))
facts_of <- function(name) jsonlite::fromJSON(file.path(folder, paste0(name, ".json")), simplifyVector = FALSE)
matrix_of <- function(rows) do.call(rbind, lapply(rows, function(row) as.numeric(unlist(row))))

# neuralnet
names <- sub("\\.rds$", "", list.files(folder, "^neuralnet_.*\\.rds$"))
expect_true(length(names) == 10)
for (name in setdiff(names, "neuralnet_not_converged")) {
  fit <- fixture(name)
  facts <- facts_of(name)
  expect_identical(nn_vector(fit), unlist(fit$weights), info = name)
  expect_identical(nn_vector(file.path(folder, paste0(name, ".rds"))), unlist(fit$weights), info = name)
  expect_identical(nn_assign(nn_assign(fit, nn_vector(fit) + 1), nn_vector(fit)), fit, info = name)
  for (rep in seq_along(fit$weights)) {
    one <- fit
    one$weights <- fit$weights[rep]
    expect_identical(nn_vector(one), unlist(fit$weights[[rep]]), info = name)
    expect_equal(nn_predict(fit, matrix_of(facts$inputs), rep = rep), matrix_of(facts$reps[[rep]]$raw), tolerance = 1e-14, info = name)
    for (layer in seq_along(facts$reps[[rep]]$layers)) {
      expected <- facts$reps[[rep]]$layers[[layer]]
      kernel <- matrix_of(lapply(expected$kernel, function(row) lapply(row, function(cell) if (identical(cell, "NA")) 0 else cell)))
      expect_identical(nn_weights(one, "*kernel")[[layer]], kernel, info = name)
    }
  }
}
expect_error(nn_vector(fixture("neuralnet_not_converged")), "did not converge")
expect_error(nn_predict(fixture("neuralnet_reps"), diag(2), rep = 4), "3 repetitions, but not number 4")

# a named vector goes in by its order, as unlist gives it names
expect_identical(nn_assign(fixture("neuralnet_relu"), c(a = 1, rep(0, 12)))$weights[[1]][[1]][1, 1], 1)

# AMORE: neuron by neuron, as its own objects keep them
for (name in c("amore_sigmoid_out", "amore_tansig_purelin", "amore_two_hidden")) {
  fit <- fixture(name)
  facts <- facts_of(name)
  own <- unlist(lapply(unlist(fit$layers[-1]), function(id) c(fit$neurons[[id]]$weights, fit$neurons[[id]]$bias)))
  expect_identical(nn_vector(fit), own, info = name)
  expect_identical(nn_assign(nn_assign(fit, own * 3), own), fit, info = name)
  expect_identical(nn_vector(nn_assign(fit, own * 3)), own * 3, info = name)
  expect_equal(nn_predict(fit, matrix_of(facts$inputs)), matrix_of(facts$raw), tolerance = 1e-14, info = name)
}
library(AMORE)
set.seed(3)
net <- newff(c(2, 3, 1), 0.01, 0.5, "LMS", hidden.layer = "tansig", output.layer = "purelin", method = "ADAPTgdwm")
x <- matrix(rnorm(20), 10)
net <- train(net, x, x[, 1, drop = FALSE], error.criterium = "LMS", report = FALSE, show.step = 5, n.shows = 2)$net
expect_equal(nn_predict(net, x), sim(net, x), tolerance = 1e-14)
halved <- nn_assign(net, nn_vector(net) / 2)
expect_equal(nn_predict(halved, x), sim(halved, x), tolerance = 1e-14)
expect_false(isTRUE(all.equal(sim(halved, x), sim(net, x))))

# monmlp and RSNNS
for (name in c("monmlp_1hidden")) {
  fit <- fixture(name)
  facts <- facts_of(name)
  expect_identical(nn_vector(fit), as.numeric(unlist(fit)), info = name)
  expect_identical(nn_assign(nn_assign(fit, nn_vector(fit) * 3), nn_vector(fit)), fit, info = name)
  expect_equal(unname(nn_predict(fit, matrix_of(facts$inputs))), matrix_of(facts$raw), tolerance = 1e-14, info = name)
}
expect_error(nn_predict(fixture("monmlp_monotone"), diag(2)), "monotone weights")
expect_error(nn_predict(fixture("monmlp_2hidden_ens"), diag(2)), "2 networks")
rsnns <- file.path(folder, "rsnns_mlp_lin.rds")
expect_identical(length(nn_vector(rsnns)), 17L)
expect_identical(dim(nn_predict(rsnns, diag(2))), c(2L, 1L))

# caret
for (name in c("caret_nnet", "caret_avnnet")) {
  fit <- fixture(name)
  own <- if (name == "caret_nnet") fit$finalModel$wts else unlist(lapply(fit$model, `[[`, "wts"))
  expect_identical(nn_vector(fit), own, info = name)
  expect_identical(nn_assign(nn_assign(fit, own * 2), own), fit, info = name)
  facts <- facts_of(name)
  new <- stats::setNames(as.data.frame(matrix_of(facts$inputs)), c("x1", "x2"))
  inner <- if (name == "caret_nnet") fit$finalModel else fit # the inputs of this fixture are centred and scaled already
  expect_equal(as.numeric(nn_predict(inner, new)), as.numeric(unlist(facts$raw)), tolerance = 1e-14, info = name)
}
suppressPackageStartupMessages(library(caret))
set.seed(5)
data <- data.frame(x1 = rnorm(60, 3, 2), x2 = runif(60), f = factor(sample(c("u", "v"), 60, TRUE)))
data$y <- data$x1 + data$x2
data$class <- factor(ifelse(data$y > 3.5, "big", "small"))
fit_one <- function(formula, ...) {
  caret::train(formula, data, method = "nnet", tuneGrid = data.frame(size = 2, decay = 0.01), trace = FALSE,
               trControl = caret::trainControl("none"), ...)
}
regression <- fit_one(y ~ x1 + x2 + f, preProcess = c("center", "scale"), linout = TRUE)
expect_identical(nn_vector(regression), regression$finalModel$wts)
expect_identical(unname(nn_predict(regression, data)[, 1]), unname(predict(regression, data)))
classes <- fit_one(class ~ x1 + x2)
expect_identical(nn_predict(classes, data, "class"), as.character(predict(classes, data)))
expect_identical(unname(nn_predict(classes, data)[, 1]), predict(classes, data, type = "prob")$small)
changed <- nn_assign(classes, nn_vector(classes) * 0.1)
expect_identical(unname(nn_predict(changed, data)[, 1]), predict(changed, data, type = "prob")$small)
expect_error(nn_predict(fit_one(y ~ x1 + x2, preProcess = "range"), data), "preprocesses its data with range")
foreach::registerDoSEQ()
averaged <- caret::avNNet(y ~ x1 + x2, data, size = 2, linout = TRUE, trace = FALSE, repeats = 3)
expect_equal(as.numeric(nn_predict(averaged, data)), as.numeric(predict(averaged, data)), tolerance = 1e-14)
expect_identical(nn_vector(averaged), unlist(lapply(averaged$model, `[[`, "wts")))
