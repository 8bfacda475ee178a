# The network as a diagram: units are circles, connections are lines whose width is the magnitude of the weight.

ink <- c(positive = "#C2571A", negative = "#2B6CB0", text = "#2B2D33", soft = "#7C828D", unit = "#F6F7F9")

nn_plot <- function(x, type = c("net", "heat"), pattern = "*", layers = NULL, axes = NULL, inputs = NULL, outputs = NULL,
                    units = 16, bias = TRUE, main = NULL) {
  type <- match.arg(type)
  drawing <- if (type == "net") net_drawing(x, layers, axes, inputs, outputs, units, bias) else heat_drawing(x, pattern, inputs, outputs)
  old <- graphics::par(no.readonly = TRUE)
  on.exit(graphics::par(old))
  if (type == "net") draw_net(drawing, main) else draw_heat(drawing, main)
  invisible(x)
}

# The elements of the drawing and their positions: layers are 1 apart, the units of a layer between 0 and 1.
net_drawing <- function(x, layers, axes, inputs, outputs, units, bias) {
  found <- chain(x, layers, axes)
  sizes <- c(nrow(found[[1L]]$kernel), vapply(found, function(layer) ncol(layer$kernel), 0L))
  shown <- shown_units(found, sizes, units)
  spots <- Map(function(at, kept) data.frame(x = at, y = heights(length(kept))), seq_along(sizes) - 1, shown)
  list(
    sizes = sizes, shown = shown, spots = spots,
    lines = edges(found, shown, spots, bias),
    biases = if (bias) which(!vapply(found, function(layer) is.null(layer$bias), NA)) - 1,
    captions = c("inputs", sub("^([0-9]+)$", "layer \\1", vapply(found, `[[`, "", "name"))),
    inputs = input_names(x, sizes[1L], inputs)[shown[[1L]]],
    outputs = output_names(x, sizes[length(sizes)], outputs)[shown[[length(shown)]]]
  )
}

# The units to draw of each layer: all, or those with the largest weights.
shown_units <- function(found, sizes, units) {
  strength <- lapply(seq_along(sizes), function(nth) {
    into <- if (nth > 1L) colSums(found[[nth - 1L]]$kernel^2, na.rm = TRUE) else 0
    out <- if (nth < length(sizes)) rowSums(found[[nth]]$kernel^2, na.rm = TRUE) else 0
    into + out
  })
  Map(function(values, size) sort(order(-values)[seq_len(min(size, units))]), strength, sizes)
}

heights <- function(count) {
  apart <- min(0.22, 1 / max(count - 1, 1))
  0.5 + (rev(seq_len(count)) - (count + 1) / 2) * apart
}

bias_height <- 1.16

# A row for every connection: its start and end, its weight, and its curvature downwards (0 is straight).
edges <- function(found, shown, spots, bias) {
  one <- function(nth) {
    layer <- found[[nth]]
    to <- spots[[nth + 1L]]
    units <- shown[[nth + 1L]]
    rbind(
      connections(layer$kernel[shown[[nth]], units, drop = FALSE], spots[[nth]], to, 0),
      if (bias && !is.null(layer$bias)) connections(t(layer$bias[units]), data.frame(x = nth - 1, y = bias_height), to, 0),
      if (!is.null(layer$skip) && nth > 1L) connections(layer$skip[shown[[1L]], units, drop = FALSE], spots[[1L]], to, 1)
    )
  }
  all <- do.call(rbind, lapply(seq_along(found), one))
  all <- all[is.finite(all$weight) & all$weight != 0, ]
  all[order(abs(all$weight)), ]
}

connections <- function(kernel, from, to, bend) {
  start <- rep(seq_len(nrow(kernel)), ncol(kernel))
  end <- rep(seq_len(ncol(kernel)), each = nrow(kernel))
  data.frame(x0 = from$x[start], y0 = from$y[start], x1 = to$x[end], y1 = to$y[end], weight = as.vector(kernel),
             bend = bend * (0.10 + 0.14 * (start - 1) / max(nrow(kernel) - 1, 1)))
}

# Drawing ---------------------------------------------------------------------------------------------------------

draw_net <- function(drawing, main) {
  open_canvas(drawing, main)
  draw_lines(drawing$lines)
  size <- min(3.2, max(1.1, 26 / max(lengths(drawing$shown))))
  graphics::points(drawing$biases, rep(bias_height, length(drawing$biases)), pch = 21, cex = 0.62 * size, bg = "#E4E7EC", col = ink["soft"])
  for (spot in drawing$spots) graphics::points(spot$x, spot$y, pch = 21, cex = size, bg = ink["unit"], col = ink["text"], lwd = 1.5)
  if (length(drawing$biases)) graphics::text(drawing$biases, bias_height, "bias", pos = 3, cex = 0.7, col = ink["soft"])
  draw_names(drawing)
  draw_captions(drawing)
  draw_key(drawing$lines)
}

# Set up the coordinate system, with room for the names at both ends.
open_canvas <- function(drawing, main) {
  graphics::par(mar = c(4.2, 0.6, if (is.null(main)) 0.6 else 2.4, 0.6), family = "sans")
  graphics::plot.new()
  last <- length(drawing$sizes) - 1
  room <- 0.32 + vapply(drawing[c("inputs", "outputs")], function(names) max(graphics::strwidth(names, "inches", cex = 0.9)), 0)
  scale <- last / max(graphics::par("pin")[1L] - sum(room), 1)
  low <- if (any(drawing$lines$bend > 0)) -0.34 else -0.08
  graphics::plot.window(c(-room[[1L]] * scale, last + room[[2L]] * scale), c(low, if (length(drawing$biases)) 1.26 else 1.06), xaxs = "i")
  if (!is.null(main)) graphics::title(main, col.main = ink["text"], cex.main = 1.15, line = 0.9)
}

draw_lines <- function(lines) {
  share <- abs(lines$weight) / max(abs(lines$weight), 1e-300)
  colour <- mapply(faded, ifelse(lines$weight > 0, ink["positive"], ink["negative"]), 0.22 + 0.7 * share)
  width <- line_width(share)
  flat <- lines$bend == 0
  graphics::segments(lines$x0[flat], lines$y0[flat], lines$x1[flat], lines$y1[flat], col = colour[flat], lwd = width[flat], lend = 1)
  for (nth in which(!flat)) {
    curve <- bent(lines[nth, ])
    graphics::lines(curve$x, curve$y, col = colour[nth], lwd = width[nth], lend = 1)
  }
}

line_width <- function(share) 0.4 + 5 * share

faded <- function(colour, alpha) grDevices::adjustcolor(colour, alpha.f = alpha)

# A curve that passes below the layers between.
bent <- function(line) {
  t <- seq(0, 1, length.out = 60)
  middle <- -2 * line$bend - (line$y0 + line$y1) / 2
  list(x = line$x0 + t * (line$x1 - line$x0), y = (1 - t)^2 * line$y0 + 2 * t * (1 - t) * middle + t^2 * line$y1)
}

draw_names <- function(drawing) {
  first <- drawing$spots[[1L]]
  last <- drawing$spots[[length(drawing$spots)]]
  graphics::text(first$x, first$y, drawing$inputs, pos = 2, offset = 1, cex = 0.9, col = ink["text"])
  graphics::text(last$x, last$y, drawing$outputs, pos = 4, offset = 1, cex = 0.9, col = ink["text"])
}

draw_captions <- function(drawing) {
  counts <- ifelse(lengths(drawing$shown) < drawing$sizes, paste(lengths(drawing$shown), "of", drawing$sizes, "shown"), drawing$sizes)
  graphics::mtext(drawing$captions, side = 1, line = 0.2, at = seq_along(drawing$sizes) - 1, cex = 0.9, col = ink["text"])
  graphics::mtext(counts, side = 1, line = 1.2, at = seq_along(drawing$sizes) - 1, cex = 0.75, col = ink["soft"])
}

# The legend of the colours and of the widest line.
draw_key <- function(lines) {
  widest <- formatC(max(abs(lines$weight), 0), digits = 3, format = "g")
  graphics::par(xpd = NA)
  box <- graphics::par("usr")
  below <- box[3L] - graphics::par("cxy")[2L] * 3.2
  graphics::legend(mean(box[1:2]), below, c("positive", "negative", paste("widest line:", widest)), horiz = TRUE, bty = "n", cex = 0.8,
                   lwd = c(3, 3, NA), col = c(ink["positive"], ink["negative"], NA), text.col = ink["soft"], xjust = 0.5, yjust = 0.5,
                   seg.len = 1.4, x.intersp = 0.7)
}
