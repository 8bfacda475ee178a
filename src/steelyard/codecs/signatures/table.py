"""What files are that no reader takes: by marks at a place, by texts, by the members of archives and folders, and by names.

Each table is read from its top, and the first line that fits is the answer. A new format is a line, and a file in the
tests. Sources: the formats' own specifications, and the writers of their libraries.
"""

from __future__ import annotations

from steelyard.codecs.signatures.ways import NET, OTHER, arrays_of, source_of

_XGBOOST = f"a model of XGBoost: trees, {NET}"
_LIGHTGBM = f"a model of LightGBM: trees, {NET}"
_CAFFE = "the layers of a Caffe model, without weights, which are in its .caffemodel"
_MXNET_GRAPH = "the layers of an MXNet model, without weights, which are in its .params"
_MATLAB = f"a file of MATLAB 4 or older by its name, which is not read; {arrays_of('scipy.io.loadmat')}"
_TENSORRT = f"an engine of TensorRT, built for one kind of GPU, which is not read; {source_of('ONNX')}"
_EXECUTORCH = "a program of ExecuTorch by its name, and not by its content (partial download?)"
_KATAGO = "a net of KataGo by its first lines, and not by what follows (partial download?)"
_NCNN = "the numbers of an ncnn model, whose layers are in a .param of the same name; put it next to this file"
_NCNN_LAYERS = "the layers of an ncnn model by its name, and not by its content (partial download?)"
_RKNN = f"a model of RKNN, compiled for one chip, which is not read; {source_of('ONNX')}"
_PADDLE = "the program of a PaddlePaddle model, without weights, which are in its .pdiparams"
_ORBAX = "a file of a checkpoint of Orbax; pass its folder"
_ZARR = "a file of a folder of zarr; pass its folder"
_COREML = "a Core ML model by its name, and not by its content (partial download?)"
_ERROR = "the answer of a server to a download that failed; look at it, and download the file again"
_CONFIG = "the config of a model, without weights; open the folder, or the file of weights next to it"
_LIBRARY = "a program or library in machine code"
_WHEEL = "a Python wheel; unpack it, and open the weight file in it"
_PACKED = "unpack it, and open the weight file in it"
_FOLDER = "unpack it, and pass the folder"
_OLD_OFFICE = f"a document of Microsoft Office, {OTHER}"

MARKS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself; fetch it with: git lfs pull"),
    (0, b"# xet version", "a pointer of Xet, not the file itself; fetch it with: git xet checkout"),
    (0, b"/annex/objects/", "a git-annex pointer, not the file itself; fetch it with: git annex get"),
    # models
    (4, b"MSL", f"a model of MindSpore Lite (.ms), which is not read; {source_of('MindSpore or ONNX')}"),
    (0, b"\x0c\xdb\x3a\x2a", _ORBAX),
    (0, b"\x0c\xdb\x20\xde", _ORBAX),
    (0, b"ptrt", _TENSORRT),
    (0, b"ftrt", _TENSORRT),
    (0, b"NRUB", "a pack of Burn (.bpk), which is not read; save it with Burn's SafetensorsStore"),
    (0, b"RKNN", _RKNN),
    (0, b"CYPTRKNN", _RKNN),
    (0, b"CBM1", f"a model of CatBoost: trees, {NET}"),
    (0, b"binf", _XGBOOST),
    (0, b"{L\0\0\0\0\0\0\0\x07learner", _XGBOOST),
    (0, b"\x0d\xc0\x01\0\0", "a net of Leela Chess Zero, which is not read; convert it with: lc0 leela2onnx"),
    (0, b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1", f"a file of Torch7 (Lua), which is not read; {arrays_of('torchfile.load')}"),
    (0, b"B\0C\0N\0\0\0", f"a model of CNTK, which is not read; {source_of('ONNX')}"),
    (0, b"\0B<Nnet>", f"a net of Kaldi, which is not read; {arrays_of('kaldiio.load_mat')}"),
    (0, b"\0B<TransitionModel>", f"a model of Kaldi, which is not read; {arrays_of('kaldiio.load_mat')}"),
    (0, b"LDMK", f"a model for a chip of Kendryte, which is not read; {source_of('ONNX or TensorFlow Lite')}"),
    (0, b"IMOD", f"a model for a chip of Ascend (.om), which is not read; {source_of('ONNX or MindSpore')}"),
    (0, b"\x01HEF", f"a model for a chip of Hailo, which is not read; {source_of('ONNX or TensorFlow Lite')}"),
    (0, b"ML\xefR", f"a program of MLIR, which is not read; {source_of('PyTorch, JAX or TensorFlow')}"),
    (0, b"IxF", f"an index of Faiss, {NET}"),
    (0, b"IxMp", f"an index of Faiss, {NET}"),
    (0, b"IwFl", f"an index of Faiss, {NET}"),
    (257, b"ustar", "a tar archive in which no weight file is known by its name"),
    # data
    (0, b"PAR1", f"a table of Parquet, {OTHER}"),
    (0, b"ARROW1", f"a table of Arrow, {OTHER}"),
    (0, b"FEA1", f"a table of Feather, {OTHER}"),
    (0, b"ORC", f"a table of ORC, {OTHER}"),
    (0, b"Obj\x01", f"a table of Avro, {OTHER}"),
    (0, b"SQLite format 3\0", f"a database of SQLite, {OTHER}"),
    (16, b"\xde\xc0\xef\xbe", f"a database of LMDB, {OTHER}"),
    (0, b"CDF\x01", f"data of netCDF, {OTHER}"),
    (0, b"CDF\x02", f"data of netCDF, {OTHER}"),
    (0, b"SIMPLE  =", f"an image of FITS, {OTHER}"),
    (128, b"DICM", f"an image of DICOM, {OTHER}"),
    (0, b"\x0b\x0e\x0a\x0c", "an object of R in the format of qs; save it with saveRDS"),
    # pictures, sound, films
    (0, b"\x89PNG\r\n", f"a PNG picture, {OTHER}"),
    (0, b"\xff\xd8\xff", f"a JPEG picture, {OTHER}"),
    (0, b"GIF8", f"a GIF picture, {OTHER}"),
    (0, b"II*\0", f"a TIFF picture, {OTHER}"),
    (0, b"MM\0*", f"a TIFF picture, {OTHER}"),
    (8, b"WEBP", f"a WebP picture, {OTHER}"),
    (8, b"WAVE", f"a sound (WAV), {OTHER}"),
    (8, b"AVI ", f"a film (AVI), {OTHER}"),
    (4, b"ftyp", f"a film or picture (MP4, MOV, HEIC), {OTHER}"),
    (0, b"OggS", f"a sound (Ogg), {OTHER}"),
    (0, b"fLaC", f"a sound (FLAC), {OTHER}"),
    (0, b"ID3", f"a sound (MP3), {OTHER}"),
    (0, b"\x1aE\xdf\xa3", f"a film (Matroska, WebM), {OTHER}"),
    # documents and programs
    (0, b"%PDF-", f"a PDF document, {OTHER}"),
    (0, b"%!PS", f"a PostScript document, {OTHER}"),
    (0, b"{\\rtf", f"a text document (RTF), {OTHER}"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _OLD_OFFICE),
    (0, b"\x7fELF", f"{_LIBRARY} (ELF), {OTHER}"),
    (0, b"\xcf\xfa\xed\xfe", f"{_LIBRARY} (macOS), {OTHER}"),
    (0, b"\xca\xfe\xba\xbe", f"{_LIBRARY} (macOS or Java), {OTHER}"),
    (0, b"\0asm", f"a program (WebAssembly), {OTHER}"),
    (0, b"BC\xc0\xde", f"a program (LLVM), {OTHER}"),
    (0, b"!<arch>\n", f"an archive of machine code, {OTHER}"),
    (0, b"#!/", f"a script, {OTHER}"),
    # archives that are not read, and encrypted files
    (0, b"7z\xbc\xaf\x27\x1c", f"a 7z archive; {_PACKED}"),
    (0, b"Rar!\x1a\x07", f"a RAR archive; {_PACKED}"),
    (0, b"MSCF\0", f"a cabinet of Windows; {_PACKED}"),
    (0, b"xar!", f"a package of macOS; {_PACKED}"),
    (0, b"Salted__", "encrypted by OpenSSL; decrypt it first"),
    (0, b"-----BEGIN PGP", "encrypted or signed by PGP; decrypt it first"),
    (0, b"age-encryption.org", "encrypted by age; decrypt it first"),
    (0, b"d8:announce", "a torrent, not the file itself; download what it names"),
)
"""Bytes at a place of the file."""

TEXTS: tuple[tuple[bytes, str], ...] = (
    (
        rb"\s*<(?i:!doctype html|html|head|body)",
        "an HTML page, not a weight file; a download answered with a web page (a login page?)",
    ),
    (rb"\s*(<\?xml[^>]*>\s*)?<Error>\s*<Code>", f"{_ERROR}"),
    (rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<PMML", f"a model in PMML, {NET}"),
    (rb"\s*(<\?xml[^>]*>.*?)?<svg", f"an SVG picture, {OTHER}"),
    (rb"\s*<\?xml", f"a text in XML, {OTHER}"),
    (rb'\s*\{\s*"(tree_metadata|item_handlers)"\s*:', _ORBAX),
    (rb'\s*\{.*"zarr_format"\s*:\s*[23]', _ZARR),
    (rb'\s*\{\s*"learner"\s*:', _XGBOOST),
    (rb"tree\r?\nversion=v\d", _LIGHTGBM),
    (rb'\s*\{\s*"name"\s*:\s*"tree".*?"version"', _LIGHTGBM),
    (rb'\s*\{\s*"(error|message|detail|errors|status)"\s*:', _ERROR),
    (rb'\s*\{\s*"(class_name|module)"\s*:.{0,60}"(class_name|config|module)"', "the layers of a Keras model, without weights"),
    (rb'\s*\{\s*"nodes"\s*:\s*\[.*"op"\s*:', _MXNET_GRAPH),
    (rb'\s*\{\s*"version"\s*:\s*"[^"]*",\s*"truncation"\s*:', f"a tokenizer, {OTHER}"),
    (rb'\s*\{.{0,3000}"(model_type|architectures|_class_name|_name_or_path)"\s*:', _CONFIG),
    (rb'\s*\{.{0,3000}"nbformat"\s*:', f"a notebook of Jupyter, {OTHER}"),
    (rb'\s*\{\s*"cells"\s*:', f"a notebook of Jupyter, {OTHER}"),
    (rb"\s*[{\[]\s*[\"{\[]", "JSON that describes no weights"),
    (rb"(name\s*:\s*\"[^\"]*\"\s*)?(#[^\n]*\n|\s)*(layers?|input|input_dim|force_backward)\s*(\{|:)", _CAFFE),
    (rb"\s*(#[^\n]*\n\s*)*\[net\]", "the layers of a Darknet model, without weights, which are in its .weights"),
    (rb"FANN_(FLO|FIX)_\d", f"a net of FANN, which is not read; {arrays_of('fann2, neural_net.get_connection_array')}"),
    (rb"md5:|outs:\r?\n", "a pointer of DVC, not the file itself; fetch it with: dvc pull"),
    (rb"[^\n]{1,100}\n([3-9]|1\d)\n(22\n|[^\n]*@BIN@)", _KATAGO),
    (
        rb"\S{1,60}( -?\d+\.\d+(e-?\d+)?){25}",
        "word vectors as a text (GloVe?), which are not read; pass them to steelyard.weights as an array",
    ),
    (rb"\s*(import|from)\s+\w+", f"a program in Python, {OTHER}"),
)
"""Patterns of the first bytes of texts."""

PACKED: tuple[tuple[bytes, str], ...] = (
    (rb"[^\n\0]{1,100}\n\d{1,2}\n\d+\n\d+\n", _KATAGO),
    (rb"1\n(-?[\d.e-]+ ){50}", f"a net of Leela Zero, which is not read; {source_of('TensorFlow')}"),
)
"""Patterns of what is in a compressed stream, which are looked at before the others there."""

ARCHIVES: tuple[tuple[str, str], ...] = (
    (r"\[Content_Types\]\.xml$", f"a document of Microsoft Office (Word, Excel, PowerPoint), {OTHER}"),
    (r"^META-INF/container\.xml$", f"a book (EPUB), {OTHER}"),
    (r"^content\.xml$", f"a document of OpenOffice, {OTHER}"),
    (r"\.dist-info/WHEEL$", _WHEEL),
    (r"^AndroidManifest\.xml$", f"an app for Android; {_PACKED}"),
    (r"^coefficients\.bin$", f"a model of Deeplearning4j, which is not read; {source_of('Keras')}"),
    (r"^model\.ini$", f"a model of H2O (MOJO), {NET}"),
    (r"(^|/)(\.zgroup|\.zarray|zarr\.json)$", f"an archive of a folder of zarr; {_FOLDER}"),
    (r"\.mlpackage/", f"a package of Core ML; {_PACKED}"),
    (r"(^|/)(inference|model|__model__)(\.pdmodel)?$", _PADDLE),
    (r"^model\.params$", f"a model for a chip of Qualcomm (DLC), which is not read; {source_of('ONNX or TensorFlow')}"),
    (r"^META-INF/MANIFEST\.MF$", f"a library of Java, {OTHER}"),
)
"""Patterns of the names of the members of a zip archive."""

NAMES: tuple[tuple[str, str], ...] = (
    (
        r"\.(part|partial|crdownload|incomplete|aria2|download|!ut|tmp)$",
        "an unfinished download by its name; wait for it, or download the file again",
    ),
    (r"\.mat$", _MATLAB),
    (r"\.pte$", _EXECUTORCH),
    (r"\.(engine|plan|trt)$", _TENSORRT),
    (r"\.rknn$", _RKNN),
    (r"\.pdmodel$|^__model__$", _PADDLE),
    (r"\.caffemodel$", "a Caffe model by its name, and not by its content (partial download?)"),
    (r"\.params$", "the weights of an MXNet model by its name, and not by its content (partial download?)"),
    (r"\.mlmodel$", _COREML),
    (r"\.ncnn\.bin$", _NCNN),
    (r"\.mnn\.weight$", "the numbers of a model of MNN, whose operators are in the .mnn next to it; open that"),
    (r"\.param\.bin$", _NCNN_LAYERS),
    (r"\.t7$", f"a file of Torch7 (Lua) by its name, which is not read; {arrays_of('torchfile.load')}"),
    (
        r"^group\d+-shard\d+of\d+(\.bin)?$|-shard\d+$",
        "numbers of a model of TensorFlow.js; open the model.json or weights_manifest.json next to it",
    ),
    (r"\.tmfile$", f"a model of Tengine, which is not read; {source_of('ONNX')}"),
    (r"\.tnnmodel$|\.tnnproto$", f"a model of TNN, which is not read; {source_of('ONNX')}"),
    (r"\.uff$", f"a model for TensorRT (UFF), which is not read; {source_of('TensorFlow')}"),
    (r"\.dlc$", f"a model for a chip of Qualcomm (DLC), which is not read; {source_of('ONNX or TensorFlow')}"),
    (r"\.nb$", f"a model of Paddle Lite, which is not read; {source_of('PaddlePaddle')}"),
    (r"\.(blob|xmodel|kmodel|om|hef)$", f"a model compiled for one chip, which is not read; {source_of('ONNX')}"),
    (r"\.(csv|tsv)$", f"a table, {OTHER}"),
    (r"\.(ya?ml|toml|ini|cfg)$", f"settings, {OTHER}"),
    (r"\.(md|txt|rst)$", f"a text, {OTHER}"),
)
"""Patterns of the names of files, in lower case, where the content decides nothing."""

FOLDERS: tuple[tuple[tuple[str, ...], str], ...] = (
    ((r"coremldata\.bin",), f"a compiled Core ML model, which is not read; {source_of('PyTorch, Keras or ONNX')}"),
    ((r"Manifest\.json", r"Data"), "a package of Core ML without its model (partial download?)"),
    ((r".*\.prototxt",), "a folder with the layers of a Caffe model, without weights, which are in its .caffemodel"),
    ((r".*\.pdmodel|__model__",), _PADDLE),
    ((r".*symbol\.json",), _MXNET_GRAPH),
    ((r"mp_rank_\d+.*",), "a checkpoint of Megatron or DeepSpeed in parts; join them with its own script, and open the result"),
    ((r"events\.out\.tfevents\..*",), "a folder with a log of TensorBoard, without weights; open the checkpoint of the run"),
    ((r"dataset_info\.json|dataset_dict\.json",), "a dataset of Hugging Face, not a model"),
    ((r"MLmodel",), "a model of MLflow; open the weight file in its folder data or artifacts"),
)
"""Patterns of names that a folder has, each of them."""
