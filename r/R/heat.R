# The weights as heat maps: one panel a kernel, its bias as a row of its own above it.

# The panels: matrices with a column for each unit; the further axes of a kernel stand one under the other.
heat_drawing <- function(x, pattern, inputs, outputs) {
  facts <- facts_of(x)
  wanted <- as.character(unlist(ask("listing", handle(x), pattern)$name))
  kernels <- which(facts$role %in% c("kernel", "recurrent kernel", "embedding") & facts$ndim >= 2L & facts$name %in% wanted)
  if (!length(kernels)) stop("no kernel of two axes or more matches '", pattern, "'", call. = FALSE)
  arrays <- nn_weights(x)
  lapply(kernels, function(place) {
    folded <- by_units(arrays[[place]], facts$axes[place])
    bias <- if (is_skip(facts)[place]) NULL else one_of(arrays[facts$layer == facts$layer[place] & facts$role == "bias"])
    named <- is.object(x) && !is_python(x)
    list(
      title = facts$name[place], shape = paste(dim(arrays[[place]]), collapse = " x "), kernel = folded,
      bias = if (length(bias) == ncol(folded)) bias,
      rows = if (place == kernels[1L] || is_skip(facts)[place]) if (named || !is.null(inputs)) input_names(x, nrow(folded), inputs),
      columns = if (place == kernels[length(kernels)] || is_skip(facts)[place]) if (named || !is.null(outputs)) output_names(x, ncol(folded), outputs)
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
  graphics::par(mar = c(2.6, 1 + name_room(panel$rows), 2.6, 4.2), xpd = NA)
  graphics::plot.new()
  graphics::plot.window(c(0, 1), c(0, 1), xaxs = "i", yaxs = "i")
  limit <- max(abs(c(panel$kernel, panel$bias)), 1e-300, na.rm = TRUE)
  top <- 1
  if (!is.null(panel$bias)) {
    strip <- max(0.05, min(0.14, 1 / (nrow(panel$kernel) + 1)))
    top <- 1 - strip - 0.03
    tiles(t(panel$bias), limit, 1 - strip, 1)
    graphics::text(0, 1 - strip / 2, "bias", pos = 2, offset = 0.3, cex = 0.75, col = ink["soft"])
  }
  tiles(panel$kernel, limit, 0, top)
  draw_margins(panel, top)
  colour_bar(limit)
}

name_room <- function(names) {
  longest <- if (is.null(names)) 0 else max(graphics::strwidth(names, "inches", cex = 0.75))
  max(1.6, longest / graphics::par("csi") + 0.6)
}

tiles <- function(values, limit, bottom, top) {
  graphics::rasterImage(array(colour_of(values, limit), dim(values)), 0, bottom, 1, top, interpolate = FALSE)
  graphics::rect(0, bottom, 1, top, border = ink["soft"], lwd = 0.7)
}

# Blue above zero, red below, white at zero; grey where there is no number.
colour_of <- function(values, limit) {
  palette <- grDevices::colorRampPalette(c("#8E1B33", ink["negative"], "#F4C6C9", "#FFFFFF", "#C3DBEE", ink["positive"], "#0B3C66"), space = "Lab")(255)
  colours <- palette[1 + round(127 + 127 * pmax(-1, pmin(1, values / limit)))]
  ifelse(is.na(colours), "#BBBBBB", colours)
}

draw_margins <- function(panel, top) {
  rows <- nrow(panel$kernel)
  columns <- ncol(panel$kernel)
  graphics::title(panel$title, cex.main = 1, col.main = ink["text"], line = 1.3)
  graphics::mtext(panel$shape, side = 3, line = 0.3, cex = 0.62, col = ink["soft"])
  if (!is.null(panel$rows) && rows <= 40) {
    graphics::text(0, top * (1 - (seq_len(rows) - 0.5) / rows), panel$rows, pos = 2, offset = 0.3, cex = 0.75, col = ink["text"])
  }
  below <- if (is.null(panel$columns) || columns > 12) paste(columns, if (columns == 1) "unit" else "units") else panel$columns
  at <- if (length(below) == 1L) 0.5 else (seq_len(columns) - 0.5) / columns
  graphics::mtext(below, side = 1, line = 0.3, at = at, cex = 0.62, col = if (length(below) == 1L) ink["soft"] else ink["text"])
}

colour_bar <- function(limit) {
  graphics::rasterImage(matrix(colour_of(seq(1, -1, length.out = 101), 1)), 1.04, 0, 1.08, 1, interpolate = TRUE)
  graphics::rect(1.04, 0, 1.08, 1, border = ink["soft"], lwd = 0.7)
  marks <- c(limit, limit / 2, 0, -limit / 2, -limit)
  graphics::text(1.1, c(1, 0.75, 0.5, 0.25, 0), trimws(formatC(marks, digits = 2, format = "g")), adj = c(0, 0.5), cex = 0.68, col = ink["soft"])
}
