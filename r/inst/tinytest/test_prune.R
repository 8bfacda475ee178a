# Pruning zeroes the smallest numbers of the kernels, and leaves the biases.

library(nnet)
set.seed(1)
fit <- nnet(Species ~ ., data = iris, size = 4, maxit = 5, trace = FALSE)
before <- nn_weights(fit)
after <- suppressMessages(nn_prune(fit, 0.5))
expect_identical(names(after), names(before))
kernels <- grepl("kernel", names(before))
numbers <- unlist(before[kernels])
kept <- unlist(after[kernels])
expect_equal(sum(kept == 0), length(numbers) / 2)
expect_true(max(abs(numbers[kept == 0])) <= min(abs(kept[kept != 0])))
expect_identical(after[!kernels], before[!kernels])

pruned <- nn_assign(fit, after)
expect_equal(sum(pruned$wts == 0), sum(kept == 0))
expect_identical(suppressMessages(nn_prune(pruned, 0.5)), nn_weights(pruned))
expect_message(nn_prune(fit, 0.5), "50.0% of 28 elements")

out <- file.path(tempdir(), "pruned.safetensors")
expect_identical(suppressMessages(nn_prune(fit, 0.5, by = "layer", out = out)), out)
expect_error(nn_prune(fit), "either an amount")
expect_error(nn_prune(fit, 80), "from 0 to 1")
