"""The page that has Steelyard beside other tools: `python scripts/comparison.py` writes its table.

What tools can do was seen on files of our own, with the versions below, in November 2026; where a cell is from a tool's
documentation, it says so. What can be measured has scripts in benchmarks/, which the page names.
"""

from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "comparison.md"
TOOLS = {
    "Steelyard": "0.1.0",
    "Netron": "9.3.3",
    "safetensors": "0.8.0",
    "PyTorch": "2.13",
    "WeightWatcher": "0.7.7",
    "NeuralNetTools": "1.5.3",
}
"""Each with the version that was tried."""
FACTS = {
    "reads a `.pt` of any age without PyTorch": "yes|yes|no|no|no|no",
    "reads safetensors, GGUF, ONNX, Keras, TensorFlow Lite": "yes|yes|safetensors|no|folders of safetensors|no",
    "reads scikit-learn's pickles and skops, and R's files, without running them": "yes|no|no|no|no|R, live",
    "live PyTorch, Keras, JAX, scikit-learn, searches, skorch": "yes|no|arrays|PyTorch|PyTorch, Keras|R's nnet and others",
    "all weights as one vector, and back": "yes|no|no|without buffers|no|to a vector",
    "says which weight an entry of the vector is": "yes|no|no|no|no|no",
    "kernel, bias, running mean apart, in any framework": "yes|no|no|by name|no|for perceptrons",
    "moves weights into another framework, and proves it": "yes|no|no|no|no|no",
    "differences of two files, across formats": "yes|no|no|no|no|no",
    "heat maps and histograms of weights": "yes|no|no|no|spectra alone, it is said|no",
    "draws the graph of operations": "as a table|yes, best|no|no|no|perceptrons",
    "spectra and power laws of matrices": "yes|no|no|no|yes, first|no",
    "importance of inputs (Olden, Garson)": "yes, in R|no|no|no|no|yes, first",
    "asks other hosts at its start": "no|yes|no|no|no|no",
}


def table():
    lines = ["| " + " | ".join(["what", *(f"{name} {version}" for name, version in TOOLS.items())]) + " |"]
    lines.append("|---" * (len(TOOLS) + 1) + "|")
    return "\n".join([*lines, *(f"| {what} | {cells.replace('|', ' | ')} |" for what, cells in FACTS.items())])


def page(text):
    """Return the page with the table as it is now."""
    above, rest = text.split("<!-- table -->")
    below = rest.split("<!-- end -->")[1]
    return f"{above}<!-- table -->\n{table()}\n<!-- end -->{below}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
