# The weights as heat maps: one panel per kernel, with its bias as a separate row above it.

# The panels: matrices with a column for each unit; a kernel's other axes are flattened into the rows.
heat_drawing <- function(x, pattern, inputs, outputs) {
  facts <- facts_of(x)
  wanted <- as.character(unlist(ask("listing", handle(x), pattern)$name))
  kernels <- which(facts$role %in% c("kernel", "recurrent kernel", "embedding") & facts$ndim >= 2L & facts$name %in% wanted)
  if (!length(kernels)) stop("no kernel with two or more axes matches '", pattern, "'", call. = FALSE)
  arrays <- nn_weights(x)
  skip <- is_skip(facts)
  ends <- list(first = c(kernels[1L], which(skip)), last = c(max(0L, setdiff(kernels, which(skip))), which(skip)))
  lapply(kernels, function(place) {
    folded <- by_units(arrays[[place]], facts$axes[place])
    bias <- if (skip[place]) NULL else one_of(arrays[facts$layer == facts$layer[place] & facts$role == "bias"])
    named <- !is_python(x) && (is.object(x) || is.character(x))
    list(
      title = facts$name[place], shape = paste(dim(arrays[[place]]), collapse = " x "), kernel = folded,
      bias = if (length(bias) == ncol(folded)) bias,
      rows = if (place %in% ends$first && (named || !is.null(inputs))) input_names(x, nrow(folded), inputs),
      columns = if (place %in% ends$last && (named || !is.null(outputs))) output_names(x, ncol(folded), outputs)
    )
  })
}

# A kernel as a matrix with its units along the columns.
by_units <- function(kernel, axes) {
  words <- strsplit(axes, " ", fixed = TRUE)[[1L]]
  count <- length(dim(kernel))
  unit <- if (length(words) == count && any(grepl("out", words))) which(grepl("out", words))[1L] else count
  turned <- aperm(kernel, c(setdiff(seq_len(count), unit), unit))
  matrix(turned, ncol = dim(kernel)[unit])
}

draw_heat <- function(panels, main) {
  across <- min(length(panels), 3L)
  graphics::par(mfrow = c(ceiling(length(panels) / across), across), oma = c(0, 0, if (is.null(main)) 0 else 2.2, 0), family = "sans")
  graphics::par(cex = 1)
  for (panel in panels) draw_panel(panel)
  if (!is.null(main)) graphics::mtext(main, outer = TRUE, font = 2, line = 0.6, col = ink["text"])
}

draw_panel <- function(panel) {
  room <- margins_of(panel)
  graphics::par(mai = room$inches, xpd = NA)
  graphics::plot.new()
  graphics::plot.window(c(0, 1), c(0, 1), xaxs = "i", yaxs = "i")
  limit <- max(abs(c(panel$kernel, panel$bias)), 1e-300, na.rm = TRUE)
  top <- 1
  if (!is.null(panel$bias)) {
    strip <- max(0.05, min(0.14, 1 / (nrow(panel$kernel) + 1)))
    top <- 1 - strip - 0.03
    tiles(t(panel$bias), limit, 1 - strip, 1)
    graphics::text(0, 1 - strip / 2, "bias", pos = 2, offset = 0.4, cex = 0.75, col = ink["soft"])
  }
  tiles(panel$kernel, limit, 0, top)
  write_names(panel, top, room$upright)
  colour_bar(limit)
}

# The margin that a panel needs for its names, in inches, and whether the column names must be vertical to fit.
margins_of <- function(panel) {
  left <- max(0.45, text_width(panel$rows) + 0.15)
  right <- 0.8
  columns <- max(0.1, graphics::par("fin")[1L] - left - right) / ncol(panel$kernel)
  upright <- text_width(panel$columns) > 0.95 * columns
  list(inches = c(if (upright) max(0.4, text_width(panel$columns) + 0.15) else 0.4, left, 0.56, right), upright = upright)
}

# The approximate width of the longest name in inches; a device can measure text only after the margins are set.
text_width <- function(names) if (is.null(names) || length(names) > 40L) 0 else 0.067 * max(nchar(names, "width"))

tiles <- function(values, limit, bottom, top) {
  graphics::rasterImage(array(colour_of(values, limit), dim(values)), 0, bottom, 1, top, interpolate = FALSE)
  graphics::rect(0, bottom, 1, top, border = ink["soft"], lwd = 0.7)
}

# Blue for negative numbers, orange for positive ones, white for zero, grey for missing values.
colour_of <- function(values, limit) {
  palette <- grDevices::colorRampPalette(c("#0B2F63", ink["negative"], "#9CC3E4", "#FFFFFF", "#F0B27A", ink["positive"], "#6B2503"), space = "Lab")(255)
  colours <- palette[1 + round(127 + 127 * pmax(-1, pmin(1, values / limit)))]
  ifelse(is.na(colours), "#BBBBBB", colours)
}

write_names <- function(panel, top, upright) {
  rows <- nrow(panel$kernel)
  columns <- ncol(panel$kernel)
  graphics::title(panel$title, cex.main = 1, col.main = ink["text"], line = 1.5)
  graphics::mtext(panel$shape, side = 3, line = 0.4, cex = 0.7, col = ink["soft"])
  if (!is.null(panel$rows) && rows <= 40L) {
    graphics::text(0, top * (1 - (seq_len(rows) - 0.5) / rows), panel$rows, pos = 2, offset = 0.4, cex = 0.75, col = ink["text"])
  }
  if (is.null(panel$columns) || columns > 40L) {
    graphics::mtext(paste(columns, if (columns == 1L) "unit" else "units"), side = 1, line = 0.4, cex = 0.7, col = ink["soft"])
  } else {
    graphics::mtext(panel$columns, side = 1, line = 0.4, at = (seq_len(columns) - 0.5) / columns, cex = 0.75, col = ink["text"],
                    las = if (upright) 2 else 0)
  }
}

colour_bar <- function(limit) {
  inch <- 1 / graphics::par("pin")[1L]
  left <- 1 + 0.1 * inch
  right <- 1 + 0.2 * inch
  graphics::rasterImage(matrix(colour_of(seq(1, -1, length.out = 101), 1)), left, 0, right, 1, interpolate = TRUE)
  graphics::rect(left, 0, right, 1, border = ink["soft"], lwd = 0.7)
  marks <- trimws(formatC(limit * c(1, 0.5, 0, -0.5, -1), digits = 2, format = "g"))
  graphics::text(right + 0.06 * inch, c(1, 0.75, 0.5, 0.25, 0), marks, adj = c(0, 0.5), cex = 0.68, col = ink["soft"])
}
