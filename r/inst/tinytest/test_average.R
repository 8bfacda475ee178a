# The average of networks is that of their vectors, and it may be written to a file.

library(nnet)
fits <- lapply(1:3, function(seed) {
  set.seed(seed)
  nnet(Species ~ ., data = iris, size = 2, maxit = 5, trace = FALSE)
})
vectors <- vapply(fits, nn_vector, numeric(length(nn_vector(fits[[1]]))))
averaged <- nn_assign(fits[[1]], nn_average(fits))
expect_equal(nn_vector(averaged), rowMeans(vectors), tolerance = 1e-14)
expect_equal(names(nn_average(fits)), names(nn_weights(fits[[1]])))

weighted <- nn_assign(fits[[1]], nn_average(fits, weights = c(1, 1, 2)))
expect_equal(nn_vector(weighted), as.numeric(vectors %*% c(0.25, 0.25, 0.5)), tolerance = 1e-14)
recent <- nn_assign(fits[[1]], nn_average(fits, decay = 0.5))
expect_equal(nn_vector(recent), as.numeric(vectors %*% c(0.25, 0.25, 0.5)), tolerance = 1e-14)

files <- file.path(tempdir(), c("one.rds", "two.rds"))
for (nth in 1:2) saveRDS(fits[[nth]], files[nth])
out <- file.path(tempdir(), "average.safetensors")
expect_identical(nn_average(files, out = out), out)
expect_identical(nn_average(list(fits[[1]], fits[[2]])), nn_average(files))

expect_error(nn_average(fits[[1]]), "a list of models")
expect_error(nn_average(fits, weights = 1), "1 weights for 3 sources")
expect_error(nn_average(fits, weights = c(1, 2, 3), decay = 0.5), "exclude each other")
