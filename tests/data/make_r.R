# Makes the files of R anew with the R that is installed: Rscript tests/data/make_r.R [ARCHIVE]
#
# Each fit of nnet, AMORE and caret in r.tar.xz is read by R, must say of itself what its JSON file says, and is written by
# this R; so is each fit in every container. The fits of packages that Debian lacks (neuralnet, monmlp, RSNNS, R torch, cito,
# brulee), the objects of each type and the hostile files are kept as they are: their point is how an R of then wrote them,
# or that no R did. A new fit is an .rds file with a JSON file of the same name, packed by this script.

suppressPackageStartupMessages(library(nnet))

here <- dirname(normalizePath(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE))))
target <- c(commandArgs(TRUE), file.path(here, "r.tar.xz"))[1]
folder <- tempfile("r")
dir.create(folder)
untar(file.path(here, "r.tar.xz"), exdir = folder)

# What the JSON file of a fit of nnet says of it, by this R; numbers there have 17 digits.
check_nnet <- function(fit, said, name) {
  equal <- function(field, found) {
    if (!isTRUE(all.equal(as.vector(unlist(found)), as.vector(unlist(said[[field]])), tolerance = 1e-12))) {
      stop(name, " has another ", field)
    }
  }
  for (field in intersect(c("n", "nunits", "nsunits", "nconn", "conn", "wts", "softmax", "entropy", "coefnames"), names(said))) {
    equal(field, fit[[field]])
  }
  equal("coef_names", names(getS3method("coef", "nnet")(fit)))
}

# A file is read and written in its own container: compressed as it was, as text where it was text, in its own version.
write_as <- function(value, path) {
  first <- readBin(path, "raw", 6)
  kind <- if (identical(first[1:2], as.raw(c(0x1f, 0x8b)))) "gzip"
  kind <- if (identical(first[1:3], charToRaw("BZh"))) "bzip2" else kind
  kind <- if (identical(first[2:5], charToRaw("7zXZ"))) "xz" else kind
  if (is.null(kind)) {
    return(FALSE) # as text, or by another tool
  }
  version <- infoRDS(path)$version # before the file is opened for writing
  saveRDS(value, path, version = version, compress = kind)
  TRUE
}

written <- 0
for (facts in Sys.glob(file.path(folder, c("nnet", "other"), "*.json"))) {
  path <- sub("json$", "rds", facts)
  said <- if (file.exists(path)) jsonlite::fromJSON(facts, simplifyVector = TRUE)
  if (!any(said$kind == c("nnet", "multinom", "amore", "caret"))) next
  fit <- readRDS(path)
  if (said$kind %in% c("nnet", "multinom")) check_nnet(fit, said, basename(path))
  if (!write_as(fit, path)) next
  if (!identical(serialize(readRDS(path), NULL), serialize(fit, NULL))) stop(basename(path), " is not read as it was written")
  written <- written + 1
}
cat(written, "files written anew\n")

files <- sort(list.files(folder, recursive = TRUE))
setwd(folder)
tar(target, files, compression = "xz", tar = "internal")
