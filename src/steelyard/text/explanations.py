"""What the words in the output of the commands mean, for `--explain`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.text.terminal import Screen

ROLES = {
    "kernel": "the factor of a layer's input, such as the matrix of a dense layer or the filters of a convolution",
    "recurrent kernel": "the factor of a recurrent layer's own last output",
    "bias": "the term that is added to a layer's output",
    "embedding": "a row of numbers for each word, or for each position",
    "scale": "the factor of a norm, also called gamma; usually near 1",
    "offset": "the term that a norm adds after its scale, also called beta",
    "mean": "the running mean of a batch norm, which is measured and not trained",
    "variance": "the running variance of a batch norm, which is measured and not trained",
    "count": "a counter, such as the batches that a norm has seen",
    "other": "the name and the shape do not show the purpose",
    "tied": "the numbers are those of an earlier weight, and count once",
}
FIGURES = {
    "q05, q95": "5 % of the numbers are below q05, and 5 % above q95",
    "std": "the standard deviation: the root of the mean squared distance from the mean",
    "l1": "the sum of the magnitudes",
    "l2": "the length of the numbers as a vector: the root of the sum of their squares",
    "rms": "the root of the mean square: l2 over the root of the count",
    "near zeros": "numbers that are not zero, but tiny beside the others",
    "histogram": "how the numbers spread over the axis in the head; an arrow at an end means that some are outside",
}
DIFFERENCES = {
    "changed": "how many numbers have other bits, and their share",
    "signed max": "the largest change, after - before, with its sign",
    "mean abs": "the mean size of a change",
    "relative": "the length of the change over that of before: 0.01 is a change by 1 %",
    "cosine": "1 if after points in the direction of before, 0 if both are unrelated, -1 if it is opposite",
}
VERDICTS = {
    "cast": "every number of one side is that of the other, rounded to a shorter type",
    "reordered": "both sides have the same numbers in different orders; --align permutation finds out whether units moved",
    "scaled": "every number is that of before times one factor, within rounding",
    "sparse": "at most 5 % of the numbers changed",
    "low rank": "the change is a product of two thin matrices, as adapters such as LoRA add",
    "noise": "the change is like random numbers of its size, as that of rounding or of a short training",
}
SPECTRA = {
    "matrix": "the rows and columns; a convolution is unfolded into outputs by all other axes",
    "norm": "the largest singular value: by how much the matrix can stretch its input",
    "stable rank": "the sum of the squared singular values over the largest square: about how many directions carry the matrix",
    "effective rank": "the number of equal singular values that would be as evenly spread",
    "alpha": "the exponent of the power law of the tail; 2 to 6 is usual in well trained layers (Martin and Mahoney 2021)",
    "KS": "how far the tail is from that power law (Kolmogorov-Smirnov): where it is large, alpha means little",
    "edge": "the largest singular value that random numbers of this size would have in the limit (Marchenko and Pastur)",
    "beyond": "how many singular values are above that edge: the directions that hold more than chance",
    "beyond chance": "the value exceeds those of the same numbers in random order, with a probability below 0.001 by chance",
}
SIZES = {
    "parameters": "numbers that training changes; shared ones count once",
    "buffers": "numbers that a layer keeps and training does not change, such as running means",
    "%": "the share of all parameters",
    "bytes": "as the file stores the numbers; MB are 10^6 bytes, and GB 10^9",
    "int8": "a byte for each number of a matrix, and a float32 for each output: the size in bitsandbytes",
    "q8_0, q4_0": "blocks of 32 numbers with 8 or 4 bits each, and a float16 for each block: the sizes in llama.cpp",
    "q4_K": "blocks of 256 numbers with 4 bits each, in eight parts with scales of their own",
}
GRIDS = {
    "std": FIGURES["std"],
    "norm": FIGURES["l2"],
    "rms": FIGURES["rms"],
    "mean": "the sum of the numbers over their count",
    "max-abs": "the largest magnitude",
    "sparsity": "the share of numbers that are zero",
    "nonfinite": "how many numbers are NaN or Inf",
    "change": DIFFERENCES["relative"],
    "rank": "the rank of a change that is a product of two thin matrices, as adapters such as LoRA add",
    "equal": "the share of numbers with the same bits",
    "=": "all numbers have the same bits as before",
    "new, gone": "only the newer, or only the older file has the weight",
    "shape": "both files have the weight, in different shapes",
    "!": "some of the numbers are NaN or Inf",
    "?": "the numbers are not known",
}
"""The values of a grid by their option, then the marks that cells have in place of a number, or after it."""
QUANTISED = {
    "rms error": "the root of the mean squared error over that of the numbers: 1 % is a hundredth of a usual number",
    "SQNR dB": "the same as a ratio of signal to noise in decibels: 6 more halve the error",
    "rms": "the root of the mean squared error of the weight",
    "95 %": "95 % of the errors are below this",
    "max error": "the largest error of one number",
}
RANKS = {
    "rank": "how many columns the first of the two thin matrices has",
    "then": "the numbers of both thin matrices",
    "squares kept": "the share of the sum of squared numbers that the product of both keeps",
}
KINSHIPS = {
    "distance": "0 for the same directions, 1 for unrelated ones",
    "shared": "weights with the same bits, of those that correspond",
    "likeness": "how well hidden units agree in position: 1 for the same, near 0 for nets that were trained independently",
    "p": "how probable such a likeness is for independently trained nets",
}
TRAININGS = {
    "norm": "the length of a weight's numbers as a vector: the root of the sum of their squares",
    "update": "the distance to the record before: the norm of the difference",
    "ratio": "the update over the norm before it; near 0.001 is usual for one step of an optimizer, much less hardly learns",
    "share": "the part of the squared movement of all weights",
    "path": "the sum of a weight's updates",
    "largest": "the largest update of a weight",
    "at": "the step of the largest update",
    "factor": "the update of all weights over the median of those near it",
    "place": "the index of the first number that is NaN or Inf",
    "dead": "a unit whose weights have a norm below 1e-6: it gives nothing to the next layer but its bias",
    "frozen": "a unit, or a weight, that did not move while others did",
    "moved": "the distance of a unit's weights between the two snapshots",
}
"""The words of a training, as `steelyard history` shows it."""
SEVERITIES = {
    "error": "the numbers cannot be used as they are, or loading the file is dangerous",
    "warning": "trained nets rarely have this",
    "info": "healthy nets may have this too",
}
"""The words of the findings of a check; their rules explain themselves."""


def explained(terms: Mapping[str, str], screen: Screen, used: Iterable[str] | None = None) -> Iterator[str]:
    """Yield an empty line, then a line for each term; with `used`, for these alone.

    Examples:
        >>> from steelyard.text.terminal import Screen
        >>> print(*explained({"a": "one", "long": "two"}, Screen(), ["a"]), sep="|")
        |a  one
    """
    chosen = terms if used is None else {term: terms[term] for term in dict.fromkeys(used) if term in terms}
    width = max(map(len, chosen), default=0)
    if chosen:
        yield ""
    for term, meaning in chosen.items():
        head = screen.paint(f"{term:<{width}}", "bold")
        yield f"{head}  {screen.within(meaning, width + 2)}"
