# Pictures: what is drawn, and that the device is left as it was.

library(nnet)
set.seed(1)
fit <- nnet(Species ~ ., iris, size = 3, skip = TRUE, decay = 0.01, trace = FALSE)
w <- nn_weights(fit)
net <- function(...) steelyard:::net_drawing(..., layers = NULL, axes = NULL, inputs = NULL, outputs = NULL)

# every connection is a line with its own weight, the largest drawn last
drawing <- net(fit, units = 16, bias = TRUE)
expect_equal(sort(drawing$lines$weight), sort(fit$wts))
expect_identical(order(abs(drawing$lines$weight)), seq_along(fit$wts))
expect_identical(drawing$inputs, names(iris)[1:4])
expect_identical(drawing$outputs, levels(iris$Species))
expect_identical(sum(drawing$lines$bend > 0), length(w$output.skip))
expect_equal(sort(net(fit, units = 16, bias = FALSE)$lines$weight), sort(c(w$hidden.kernel, w$output.kernel, w$output.skip)))
one <- drawing$lines[drawing$lines$weight == w$hidden.kernel[2, 3], ]
expect_equal(c(one$x0, one$x1), c(0, 1))
expect_equal(c(one$y0, one$y1), c(drawing$spots[[1]]$y[2], drawing$spots[[2]]$y[3]))

# of a large layer the units with the largest weights are drawn, and the caption reports it
large <- list(a.kernel = matrix(c(rep(0.1, 40), 5, rep(0.1, 39)), 2), b.kernel = matrix(0.1, 40, 1))
drawing <- steelyard:::net_drawing(large, NULL, "in out", NULL, NULL, units = 5, bias = TRUE)
expect_identical(lengths(drawing$shown), c(2L, 5L, 1L))
expect_true(21L %in% drawing$shown[[2]])

# widths and colours show size and sign
expect_true(all(diff(steelyard:::line_width(c(0, 0.3, 1))) > 0))
shades <- grDevices::col2rgb(steelyard:::colour_of(c(-1, 0, 1, NA), 1))
expect_true(shades["blue", 1] > shades["red", 1] && shades["red", 3] > shades["blue", 3])
expect_identical(unname(shades[, 2]), c(255L, 255L, 255L))
expect_identical(unname(shades[, 4]), c(187L, 187L, 187L))

# a heat map has a column for each unit, however the framework keeps its kernel
panels <- steelyard:::heat_drawing(fit, "*", NULL, NULL)
expect_identical(vapply(panels, `[[`, "", "title"), c("hidden.kernel", "output.kernel", "output.skip"))
expect_identical(panels[[1]]$kernel, w$hidden.kernel)
expect_identical(panels[[1]]$bias, w$hidden.bias)
expect_null(panels[[3]]$bias)
expect_identical(panels[[3]]$rows, names(iris)[1:4])
kernel <- array(1:24, c(2, 3, 2, 2))
expect_identical(steelyard:::by_units(kernel, "out in kh kw")[, 1], as.vector(kernel[1, , , ]))
expect_identical(steelyard:::by_units(kernel, "kh kw in out")[, 1], as.vector(kernel[, , , 1]))
expect_error(nn_plot(fit, "heat", "nothing"), "no kernel with two or more axes matches 'nothing'")

# both are really drawn, for R's fits, files and models of Python, and leave the settings of the device
picture <- function(...) {
  path <- tempfile(fileext = ".png")
  grDevices::png(path, 900, 600)
  before <- graphics::par(no.readonly = TRUE)
  returned <- withVisible(nn_plot(...))
  after <- graphics::par(no.readonly = TRUE)
  grDevices::dev.off()
  expect_false(returned$visible)
  expect_identical(after[c("mar", "mfrow", "xpd", "cex")], before[c("mar", "mfrow", "xpd", "cex")])
  file.size(path)
}
reticulate::py_run_string("
import torch
plot_conv = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(16, 3))
plot_dense = torch.nn.Sequential(torch.nn.Linear(40, 30), torch.nn.Tanh(), torch.nn.Linear(30, 1))
")
path <- tempfile(fileext = ".rds")
saveRDS(fit, path)
empty <- tempfile(fileext = ".png")
grDevices::png(empty, 900, 600)
graphics::plot.new()
grDevices::dev.off()
for (size in c(
  picture(fit, main = "Iris"), picture(fit, "heat", main = "Iris"), picture(path), picture(path, "heat"),
  picture(reticulate::py_eval("plot_dense", convert = FALSE)), picture(reticulate::py_eval("plot_conv", convert = FALSE), "heat"),
  picture(nn_assign(fit, rep(0, length(fit$wts)))), picture(nn_assign(fit, rep(0, length(fit$wts))), "heat")
)) expect_true(size > file.size(empty) + 1000)
