"""The names in Keras' own configs: classes of all its versions, functions by module, and modules that reach out of a file."""

from __future__ import annotations

from steelyard.auditing.names import words

CLASSES = words(
    """
    AUC AWQConfig AWQDTypePolicy AbsMaxQuantizer AbstractRNNCell Accuracy Activation ActivityRegularization Adadelta Adafactor
    Adagrad Adam AdamW Adamax AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D
    AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add AddLoss AddMetric AdditiveAttention AlphaDropout AtrousConvolution1D
    AtrousConvolution2D Attention AugMix AutoContrast Average AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D
    AvgPool2D AvgPool3D BaseRandomLayer BatchNormalization BatchNormalizationBase BatchNormalizationV1 BatchNormalizationV2
    Bidirectional BinaryAccuracy BinaryCrossentropy BinaryFocalCrossentropy BinaryIoU CTC CategoricalAccuracy
    CategoricalCrossentropy CategoricalFocalCrossentropy CategoricalGeneralizedCrossEntropy CategoricalHinge CategoryEncoding
    CenterCrop Circle ClassMethod Concatenate ConcordanceCorrelation Constant Constraint
    ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose
    ConvLSTM1D ConvLSTM2D ConvLSTM3D Convolution1D Convolution1DTranspose Convolution2D Convolution2DTranspose Convolution3D
    Convolution3DTranspose CosineDecay CosineDecayRestarts CosineSimilarity Cropping1D Cropping2D Cropping3D CuDNNGRU
    CuDNNLSTM CutMix DTypePolicy DTypePolicyMap Deconvolution2D Deconvolution3D Dense DenseFeatures DepthwiseConv1D
    DepthwiseConv2D DeviceWrapper Dice Discretization DistillationLoss Distiller Dot Dropout DropoutWrapper ELU EinsumDense
    Embedding Equalization ExponentialDecay F1Score FBetaScore FalseNegatives FalsePositives FeatureDistillation Flatten
    FlaxLayer Float8QuantizationConfig FloatDTypePolicy Ftrl Functional GPTQConfig GPTQDTypePolicy GRU GRUCell GRUCellV1
    GRUCellV2 GRUV1 GRUV2 GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D GlobalMaxPooling1D
    GlobalMaxPooling2D GlobalMaxPooling3D GlorotNormal GlorotUniform Graph GroupNormalization GroupQueryAttention
    GroupedQueryAttention HashedCrossing Hashing HeNormal HeUniform Highway Hinge Huber Identity IdentityInitializer
    Initializer InputLayer InputSpec InstanceMethod InstanceProperty Int4DTypePolicy Int4QuantizationConfig
    Int8QuantizationConfig IntegerLookup InverseTimeDecay IoU JaxLayer KLDivergence L1 L1L2 L2 LSTM LSTMCell LSTMCellV1
    LSTMCellV2 LSTMV1 LSTMV2 Lamb Layer LayerNormalization LeakyReLU LearningRateSchedule LecunNormal LecunUniform LinearModel
    Lion LocallyConnected1D LocallyConnected2D LogCosh LogCoshError LogitsDistillation Loss LossScaleOptimizer Masking MaxNorm
    MaxNumBoundingBoxes MaxPool1D MaxPool2D MaxPool3D MaxPooling1D MaxPooling2D MaxPooling3D Maximum MaxoutDense Mean
    MeanAbsoluteError MeanAbsolutePercentageError MeanIoU MeanMetricWrapper MeanRelativeError MeanSquaredError
    MeanSquaredLogarithmicError MeanTensor MelSpectrogram Merge Metric MinMaxNorm Minimum MixUp Model MultiHeadAttention
    MultiOptimizer Multiply Muon Nadam NonNeg Normalization OneHotIoU OneHotMeanIoU Ones Optimizer OptimizerMap Orthogonal
    OrthogonalInitializer OrthogonalRegularizer PReLU PearsonCorrelation Permute PiecewiseConstantDecay Pipeline Poisson
    Policy PolynomialDecay Precision PrecisionAtRecall PreprocessingLayer QuantizationConfig QuantizedDTypePolicy
    QuantizedFloat8DTypePolicy Quantizer R2Score RMSNormalization RMSprop RNN RadialConstraint RandAugment RandomBrightness
    RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop RandomElasticTransform RandomErasing RandomFlip
    RandomFourierFeatures RandomGaussianBlur RandomGrayscale RandomHeight RandomHue RandomInvert RandomNormal
    RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation
    RandomUniform RandomWidth RandomZoom ReLU Recall RecallAtPrecision Reduction Regularizer RepeatVector Rescaling Reshape
    ResidualWrapper Resizing ReversibleEmbedding RootMeanSquaredError SGD STFT STFTInitializer STFTSpectrogram
    ScheduleFreeAdamW SeedGenerator SensitivityAtSpecificity SeparableConv1D SeparableConv2D SeparableConvolution1D
    SeparableConvolution2D SequenceFeatures Sequential SimpleRNN SimpleRNNCell SlicingOpLambda Softmax Solarization
    SparseCategoricalAccuracy SparseCategoricalCrossentropy SparseTopKCategoricalAccuracy SpatialDropout1D SpatialDropout2D
    SpatialDropout3D SpecificityAtSensitivity SpectralNormalization SquaredHinge StackedRNNCells StringLookup Subtract Sum
    SyncBatchNormalization TFOpLambda TensorFlowOpLayer TextVectorization ThresholdedReLU TimeDistributed TimeDistributedDense
    TopKCategoricalAccuracy TrueNegatives TruePositives TruncatedNormal Tversky UnitNorm UnitNormalization UpSampling1D
    UpSampling2D UpSampling3D VarianceScaling WeightRegularizer ActivityRegularizer WideDeepModel Wrapper ZeroPadding1D
    ZeroPadding2D ZeroPadding3D Zeros _RNNCellWrapper constant glorot_normal glorot_uniform he_normal he_uniform identity l1
    l1_l2 l2 lecun_normal lecun_uniform max_norm min_max_norm non_neg ones orthogonal orthogonal_regularizer radial_constraint
    random_normal random_uniform stft truncated_normal unit_norm variance_scaling zeros Zero One ListWrapper _DictWrapper
    _TupleWrapper TensorShape TypeSpec __tuple__ __ellipsis__ __slice__ __tensor__ __numpy__ __bytes__ __keras_tensor__
    __dict__ CustomMaskWarning FeatureSpace Feature Cross KerasTensor Variable
    """
)
"""Classes of Keras 1, 2 and 3, and the words with which it marks plain values. Those that run code are not among them."""

FUNCTION_MODULES = frozenset(("activations", "losses", "metrics", "initializers", "regularizers", "constraints", "ops"))
"""Modules whose functions compute numbers from numbers."""

UNSAFE_FUNCTIONS = frozenset(("deserialize", "get", "serialize", "custom_gradient"))
"""Functions in these modules that do more."""

OUTSIDE_MODULES = frozenset(
    (
        *("utils", "saving", "config", "export", "wrappers", "callbacks", "datasets", "applications", "preprocessing", "backend"),
        *("visualization", "distribution", "tree", "testing", "api", "legacy_saving", "trainers", "scripts", "benchmarks"),
    )
)
"""Modules whose functions and classes read or write files, fetch them, or change what Keras permits."""

KERAS = (
    "keras",
    "tf_keras",
    "keras_core",
    "tensorflow.keras",
    "tensorflow.python.keras",
    "tensorflow.python.keras.api",
    "tf.keras",
)
"""The packages that are Keras itself."""

SAVED_METADATA = "saved_model_metadata.json"
"""The name under which the metadata of a layer in a SavedModel is looked into."""

LIBRARIES = frozenset(
    (
        *(
            "keras_hub",
            "keras_nlp",
            "keras_cv",
            "keras_tuner",
            "keras_rs",
            "keras_contrib",
            "kapre",
            "qkeras",
            "spektral",
            "larq",
        ),
        *("tensorflow_addons", "tensorflow_probability", "tensorflow_recommenders", "tensorflow_model_optimization", "tcn"),
        *("tensorflow_ranking", "tensorflow_text", "tensorflow_decision_forests", "autokeras", "bayesflow", "official"),
        *("addons", "kerasnlp", "kerascv", "efficientnet", "vit_keras", "keras_retinanet", "segmentation_models", "transformers"),
    )
)
"""Libraries whose layers are usual in configs, also by the names under which they register them."""

RUNS = {
    "TorchModuleWrapper": "holds a PyTorch module as a pickle, which loading unpickles",
    "TFSMLayer": "loads and runs a SavedModel from a path",
    "KerasLayer": "loads and runs a SavedModel from a path or an address",
    "TextFileInitializer": "reads a file",
    "TextFileIdTableInitializer": "reads a file",
    "TextFileStringTableInitializer": "reads a file",
    "StaticHashTable": "reads a table from a file",
    "StaticVocabularyTable": "reads a table from a file",
    "KerasFileEditor": "opens a file",
    "ModelCheckpoint": "writes a file",
    "CSVLogger": "writes a file",
    "BackupAndRestore": "writes and removes files",
    "TensorBoard": "writes files",
    "RemoteMonitor": "sends data to an address",
    "LambdaCallback": "calls functions",
    "DiskIOStore": "writes files",
    "H5IOStore": "opens a file",
    "NpzIOStore": "opens a file",
}
"""Classes that reach out of the file or load code, and how."""

PATHS = frozenset(("vocabulary", "vocabulary_file", "vocab_file", "filename", "filepath", "file_path", "handle", "idf_weights"))
PATHS |= frozenset(("url", "origin", "fname", "export_dir", "saved_model_path", "merges", "proto"))
"""Settings that name a file or an address where they are texts."""
