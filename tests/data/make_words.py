"""Make small models of words with their own libraries, and pack them: python tests/data/make_words.py

It needs gensim, fasttext and dynet, which the project does not: run it in an environment of its own.
`expected.npz` has what each library itself says of its file, by the name of the file and of the weight.
"""

import io
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
RANDOM = np.random.default_rng(0)
SENTENCES = [["net", "weight", "layer"], ["weight", "net", "größe"], ["layer", "net", "bias"]] * 5


def of_gensim():
    """Write models of gensim with arrays in files of their own, and word vectors in both forms of word2vec."""
    from gensim.models import FastText, Word2Vec

    model = Word2Vec(SENTENCES, vector_size=4, min_count=1, epochs=1, negative=5)
    model.save("w2v.model", sep_limit=1)
    model.wv.save("words.kv")
    model.wv.save_word2vec_format("w2v.bin", binary=True)
    model.wv.save_word2vec_format("w2v.txt")
    yield "w2v.model:wv.vectors", model.wv.vectors
    yield "w2v.model:syn1neg", model.syn1neg
    yield "words.kv:vectors", model.wv.vectors
    yield "w2v.bin:vectors", model.wv.vectors
    yield "w2v.txt:vectors", model.wv.load_word2vec_format("w2v.txt").vectors
    model = FastText(SENTENCES, vector_size=4, min_count=1, epochs=1, bucket=6)
    model.save("ft.model", sep_limit=1)
    for name in ("vectors_vocab", "vectors_ngrams"):
        yield f"ft.model:wv.{name}", getattr(model.wv, name)


def of_fasttext():
    """Write models of fastText: vectors, a classifier, and one that is product quantised, with norms."""
    import fasttext

    words = ["".join(RANDOM.choice(list("abcdefgh"), 3)) for _ in range(300)]
    lines = [f"__label__{'xyz'[number % 3]} " + " ".join(RANDOM.choice(words, 6)) for number in range(400)]
    Path("text").write_text("\n".join(lines))
    common = {"dim": 5, "minCount": 1, "verbose": 0}
    for name, model in {
        "vectors.bin": fasttext.train_unsupervised("text", bucket=10, epoch=1, **common),
        "labels.bin": fasttext.train_supervised("text", bucket=20, epoch=3, wordNgrams=2, **common),
    }.items():
        model.save_model(name)
        yield f"{name}:input", model.get_input_matrix()
        yield f"{name}:output", model.get_output_matrix()
    model = fasttext.train_supervised("text", bucket=500, epoch=3, wordNgrams=2, minn=2, maxn=2, **common)
    model.quantize("text", qnorm=True, cutoff=260)
    model.save_model("labels.ftz")
    yield "labels.ftz:input", np.stack([model.get_input_vector(number) for number in range(260)])
    Path("text").unlink()


def of_dynet():
    """Write the parameters of a collection, among them a table for look-ups and a tensor of three axes."""
    import dynet

    model = dynet.ParameterCollection()
    inner = model.add_subcollection("encoder")
    made = [model.add_parameters((2, 3)), model.add_parameters(4), inner.add_parameters((2, 3, 4))]
    made.append(model.add_lookup_parameters((5, 3)))
    model.save("dynet.model")
    for parameter in made:
        yield f"dynet.model:{parameter.name()}", parameter.as_array()


def main():
    """Make all files, and pack them."""
    folder = Path(tempfile.mkdtemp())
    os.chdir(folder)
    expected = dict(pair for make in (of_gensim, of_fasttext, of_dynet) for pair in make())
    np.savez(folder / "expected.npz", **expected)
    with tarfile.open(HERE / "words.tar.xz", "w:xz") as archive:
        for path in sorted(folder.iterdir()):
            entry = tarfile.TarInfo(path.name)
            entry.size = path.stat().st_size
            archive.addfile(entry, io.BytesIO(path.read_bytes()))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
