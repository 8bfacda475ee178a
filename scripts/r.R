# Runs the tests of the installed R package, and every block of R in the pages of the docs.

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
wrong <- check_page(file.path(root, "docs", "r.md"))
cat(length(results) - length(failed), "passed,", length(failed) + wrong, "failed\n")
quit(status = as.integer(length(failed) + wrong > 0))
