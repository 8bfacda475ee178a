# An export has the numbers of the fit, and its forward pass computes the outputs of predict().

library(nnet)
set.seed(1)
fit <- nnet(Species ~ ., data = iris, size = 4, maxit = 20, trace = FALSE)
folder <- tempfile()
dir.create(folder)
at <- function(file) file.path(folder, file)

expect_identical(nn_export(fit, at("net.csv")), at("net.csv"))
expect_equal(sort(as.numeric(read.csv(at("net.csv"))$value)), sort(fit$wts), tolerance = 0)

made <- suppressMessages(nn_export(fit, at("iris.c"), forward = TRUE, probe = iris, name = "iris", dtype = "float64"))
expect_identical(basename(made), c("iris.c", "iris.h", "iris_test.c"))
expect_message(
  nn_export(fit, at("iris.c"), forward = TRUE, probe = iris, name = "iris", dtype = "float64"),
  "error .* of the largest output on 150 examples, from those of the net"
)

# the compiled function, called for all flowers, against R's own predict()
writeLines(c(
  "#include <stdio.h>", "#include \"iris.h\"",
  "int main(void) {", "  double x[4], y[3], scratch[IRIS_SCRATCH + 1];",
  "  while (scanf(\"%lf %lf %lf %lf\", x, x + 1, x + 2, x + 3) == 4) {",
  "    iris_run(x, y, scratch);", "    printf(\"%.17g %.17g %.17g\\n\", y[0], y[1], y[2]);", "  }", "  return 0;", "}"
), at("main.c"))
run <- function(...) system2(..., stdout = TRUE, stderr = TRUE)
program <- at("main")
expect_identical(run("cc", c("-std=c99", "-Wall", "-Wextra", "-Werror", "-o", program, at("main.c"), at("iris.c"), "-lm")), character())
lines <- run(program, input = do.call(paste, lapply(iris[1:4], format, digits = 17)))
outputs <- as.matrix(read.table(text = lines))
expect_equal(unname(outputs), unname(predict(fit, iris)), tolerance = 1e-12)
expect_identical(system2(
  "sh", c("-c", shQuote(paste("cd", shQuote(folder), "&& cc iris.c iris_test.c -lm -o test && ./test"))), stdout = FALSE
), 0L)

expect_error(nn_export(fit, at("net.c"), probe = iris), "forward = TRUE")
expect_error(nn_export(fit, at("net.doc")), "suffix")
expect_error(nn_export(fit, at("net.h"), algin = 4), "algin")
