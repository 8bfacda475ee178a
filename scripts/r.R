# Runs the tests of the installed R package, every block of R in the pages of the docs, and what the README says of R.

root <- commandArgs(TRUE)[1]
results <- tinytest::test_package("steelyard", at_home = TRUE, verbose = 0, testdir = "tinytest")
failed <- results[!vapply(results, isTRUE, NA)]
if (length(failed)) print(failed, limit = Inf)

# A block ```r is run; its output must be the text of the block ```text after it.
check_page <- function(page) {
  lines <- readLines(page)
  marks <- grep("^```", lines)
  around <- new.env(parent = globalenv())
  wrong <- 0
  for (nth in seq(1, length(marks), 2)) {
    before <- if (nth > 1) lines[marks[nth - 2]] else ""
    inside <- lines[seq_len(marks[nth + 1] - marks[nth] - 1) + marks[nth]]
    if (lines[marks[nth]] == "```r") {
      printed <- capture.output(source(exprs = parse(text = inside), local = around, print.eval = TRUE, echo = FALSE))
    } else if (lines[marks[nth]] == "```text" && before == "```r") {
      same <- identical(trimws(printed, "right"), trimws(inside, "right"))
      if (!same) cat(basename(page), "prints\n", paste(printed, collapse = "\n"), "\nbut the page has\n", paste(inside, collapse = "\n"), "\n", sep = "")
      wrong <- wrong + !same
    }
  }
  wrong
}
# The README's block of R runs on a fit of nnet, and its row of today's ways gives the same numbers as ours, to the last bit.
check_readme <- function(path) {
  lines <- readLines(path)
  set.seed(1)
  nnet <- nnet::nnet(Species ~ ., iris, size = 2, trace = FALSE)
  reticulate::py_run_string("
import tf_keras
made = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(3)])
def arrays(model):
    return [(list(a.shape), bytearray(a.ravel(order='F').astype('<f8').tobytes())) for a in model.get_weights()]
")
  keras <- reticulate::py_eval("made", convert = FALSE)
  # what the function of this name in library(keras) returns; reticulate converts no array of NumPy 2
  get_weights <- function(model) {
    lapply(reticulate::py$arrays(model), function(a) array(readBin(a[[2]], "double", prod(unlist(a[[1]])), endian = "little"), unlist(a[[1]])))
  }
  begin <- grep("^```r$", lines)
  end <- begin + which(lines[-seq_len(begin)] == "```")[1]
  around <- list2env(list(fit = nnet), parent = globalenv())
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  invisible(capture.output(source(exprs = parse(text = lines[(begin + 1):(end - 1)]), local = around, print.eval = TRUE, echo = FALSE)))
  row <- grep("^\\| \\[R: nnet", lines, value = TRUE)
  ways <- lapply(gsub("`", "", regmatches(row, gregexpr("`[^`]+`", row))[[1]]), str2lang)
  answer <- function(way, fit) eval(way, list(fit = fit), environment())
  same <- c(
    identical(around$fit$wts, nnet$wts / 2),
    identical(answer(ways[[1]], nnet), answer(ways[[3]], nnet)),
    identical(as.double(eval(ways[[2]], list(fit = keras), list2env(list(get_weights = get_weights)))), answer(ways[[3]], keras))
  )
  if (!all(same)) cat("README.md says of R what is not so:", same, "\n")
  sum(!same)
}
pages <- file.path(root, "docs", c("r.md", "recipes.md"))
wrong <- sum(vapply(pages, check_page, 0)) + check_readme(file.path(root, "README.md"))
cat(length(results) - length(failed), "passed,", length(failed) + wrong, "failed\n")
quit(status = as.integer(length(failed) + wrong > 0))
