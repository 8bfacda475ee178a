# Fits of caret as its users hold and save them, against caret's own answers.

if (!requireNamespace("caret", quietly = TRUE)) exit_file("caret is not installed")
suppressPackageStartupMessages({
  library(caret)
  library(nnet)
})
file <- tempfile(fileext = ".rds")
set.seed(1)

# the mean of the members' outputs; type = "prob" is another function, which scales each row to a sum of one
averaged <- suppressWarnings(avNNet(Species ~ ., iris, size = 2, repeats = 3, trace = FALSE))
expect_equal(unname(as.matrix(nn_predict(averaged, iris))), unname(as.matrix(predict(averaged, iris, type = "raw"))))
smooth <- suppressWarnings(avNNet(Species ~ ., iris, size = 2, repeats = 3, trace = FALSE, softmax = TRUE))
expect_equal(unname(as.matrix(nn_predict(smooth, iris))), unname(as.matrix(predict(smooth, iris, type = "prob"))))

# saved as text, which rounds the last digits: what R itself reads again
plain <- nnet(Species ~ ., iris, size = 2, trace = FALSE)
saveRDS(plain, file, ascii = TRUE)
expect_identical(nn_vector(file), readRDS(file)$wts)

# a net on principal components, live and saved
reduced <- pcaNNet(Species ~ ., iris, size = 2, trace = FALSE)
expect_identical(nn_vector(reduced), reduced$model$wts)
saveRDS(reduced, file)
expect_identical(nn_vector(file), reduced$model$wts)

# train with preprocessing that nn_predict() does not apply: refused by its name, while the weights are read and written
fit <- train(mpg ~ ., mtcars,
  method = "nnet", linout = TRUE, trace = FALSE, preProcess = c("range", "pca"),
  tuneGrid = data.frame(size = 2, decay = 0.1), trControl = trainControl("none")
)
expect_identical(nn_vector(fit), fit$finalModel$wts)
expect_error(nn_predict(fit, mtcars), "range, pca")
zeroed <- nn_assign(fit, nn_vector(fit) * 0)
expect_false(isTRUE(all.equal(predict(zeroed, mtcars), predict(fit, mtcars))))
expect_true(all(nn_vector(zeroed) == 0))
expect_identical(names(nn_weights(fit)), c("hidden.kernel", "hidden.bias", "output.kernel", "output.bias"))

# the mean of several fits in one of them
members <- lapply(1:3, function(nth) nnet(Species ~ ., iris, size = 2, trace = FALSE))
expect_identical(length(nn_vector(members)), 3L * length(members[[1]]$wts))
mean_of_all <- rowMeans(sapply(members, nn_vector))
expect_identical(nn_assign(members[[1]], mean_of_all)$wts, mean_of_all)
