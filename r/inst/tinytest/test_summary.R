# nn_summary(): what there is, without reading the numbers.

library(nnet)
set.seed(1)
fit <- nnet(Species ~ ., iris, size = 2, skip = TRUE, trace = FALSE)
s <- nn_summary(fit)
expect_true(is.data.frame(s))
expect_identical(s$name, names(nn_weights(fit)))
expect_identical(s$name, c("hidden.kernel", "hidden.bias", "output.kernel", "output.bias", "output.skip"))
expect_identical(s$role, c("kernel", "bias", "kernel", "bias", "kernel"))
expect_identical(s$shape, c("4x2", "2", "2x3", "3", "4x3"))
expect_identical(sum(s$size), as.numeric(length(fit$wts)))
expect_identical(attr(s, "parameters"), as.numeric(length(fit$wts)))
expect_identical(attr(s, "bytes"), 8 * length(fit$wts))
expect_identical(nn_summary(fit, "*.bias")$name, c("hidden.bias", "output.bias"))
printed <- capture.output(print(s))
expect_true(grepl("^hidden.kernel +kernel +4x2 +in out +float64 +8$", printed[2]))
expect_true(grepl("5 weights; the model has 31 parameters, 248 bytes", printed[length(printed)]))
expect_identical(length(unique(nchar(sub(" +[0-9,]+$", "", format(s)[1])))), 1L)
expect_true(any(grepl("^0 weights", capture.output(print(nn_summary(fit, "nothing"))))))

# a file with training data is reported; a fit in R's memory passes none on
path <- tempfile(fileext = ".rds")
saveRDS(fit, path)
expect_true(any(grepl("training data", attr(nn_summary(path), "notes"))))
expect_true(any(grepl("training data", capture.output(print(nn_summary(path))))))
expect_identical(attr(s, "notes"), character())

# facts of a Python model that R's fits do not have
reticulate::py_run_string("
import torch
summary_net = torch.nn.ModuleDict({'embed': torch.nn.Embedding(2000, 4), 'head': torch.nn.Linear(4, 2000, bias=False), 'norm': torch.nn.BatchNorm1d(4)})
summary_net['head'].weight = summary_net['embed'].weight
")
net <- reticulate::py_eval("summary_net", convert = FALSE)
s <- nn_summary(net)
expect_identical(s$tied, c("", "embed.weight", "", "", "", "", ""))
expect_identical(s$trainable, c(TRUE, TRUE, TRUE, TRUE, FALSE, FALSE, FALSE))
expect_identical(s$dtype[7], "int64")
expect_identical(s$shape[7], "")
expect_identical(attr(s, "parameters"), 8008)
expect_identical(attr(s, "buffers"), 9)
w <- nn_weights(net, "*.weight")
w$head.weight <- w$head.weight * 2
expect_error(nn_assign(net, w[c("embed.weight", "head.weight")]), "shares its numbers with another")
nn_assign(net, w["head.weight"])
expect_identical(nn_weights(net)$embed.weight, w$head.weight)
printed <- capture.output(print(s))
expect_true(any(grepl("8,000  embed.weight$", printed)))
expect_true(any(grepl("scalar", printed)))
expect_true(grepl("8,008 parameters, 9 in buffers, 32.1 kB", printed[length(printed)]))
