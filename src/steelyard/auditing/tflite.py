"""TensorFlow Lite: operators that it does not have itself, by name. Operator codes: 4 custom_code's builtin, 6 custom_code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.findings import AuditFinding
from steelyard.auditing.names import words
from steelyard.auditing.tensorflow_ops import rule_of_op
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.auditing.findings import Inside, Place
    from steelyard.storage.source import Source

_KNOWN = words(
    """
    TFLite_Detection_PostProcess Convolution2DTransposeBias MaxPoolingWithArgmax2D MaxUnpooling2D TransformTensorBilinear
    Landmarks2TransformMatrix TransformLandmarks RoiToTransformMatrix AudioSpectrogram Mfcc NumericVerify Irfft2d Atan2 Sign
    Roll RandomUniform RandomStandardNormal Multinomial BroadcastGradientArgs HashtableFind HashtableImport HashtableSize
    TFSentencepieceTokenizeOp TFSentencepieceDetokenizeOp edgetpu-custom-op KmeansEmbeddingLookup aeq.hadamard_rotation
    SentencepieceTokenizeOp tftext:WhitespaceTokenizer tftext:Ngrams Convolution2DTranspose Resampler FuzzyWuzzy CallOnce
    odml.rms_norm odml.scaled_dot_product_attention odml.update_kv_cache odml.cache_update STABLEHLO_COMPOSITE DISPATCH_OP
    """
)
_IDENTIFIER = b"TFL3"
_FLEX = "Flex"
_MICRO = "Signal"
"""The operators of TensorFlow Lite for Microcontrollers that process audio."""


def recognises(source: Source) -> bool:
    """Recognise the identifier."""
    return source.head(8)[4:] == _IDENTIFIER


def findings(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Name each operator that is not built in."""
    from steelyard.codecs.flatbuffers import root

    for code in root(source).tables(6):
        name = code.text(6)
        shown = printable(name, 200)
        if not name:
            continue
        op = name.removeprefix(_FLEX)
        if rule := rule_of_op(op, "") or rule_of_op(name, ""):
            yield AuditFinding(rule, str(place), f"has the operator {shown}, of TensorFlow: it calls Python or reaches files")
        elif name.startswith(_FLEX):
            yield AuditFinding("tflite-known-op", str(place), f"has the operator {shown}, which TensorFlow runs")
        elif name in _KNOWN or name.startswith(_MICRO):
            yield AuditFinding("tflite-known-op", str(place), f"has the operator {shown} of a known library")
        else:
            what = f"has the operator {shown}, which only a library of its own can run"
            yield AuditFinding("tflite-custom-op", str(place), what)
