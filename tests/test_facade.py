"""The public face: the names that TensorFlow 1 programs use most, each with a word on what it is."""

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import weft as wf

#: What most programs of the wild use, as far as weft has it: none of these may get lost.
NAMES = [
    "AUTO_REUSE", "ConfigProto", "Graph", "GraphKeys", "InteractiveSession", "RunMetadata", "RunOptions", "Session",
    "Tensor", "TensorShape", "Variable", "__version__", "abs", "add", "add_n", "add_to_collection", "all_variables",
    "arg_max", "argmax", "argmin", "assign", "assign_add", "bool", "cast", "clip_by_global_norm", "clip_by_norm",
    "clip_by_value", "concat", "constant", "constant_initializer", "control_dependencies", "convert_to_tensor", "cos",
    "device", "diag", "disable_v2_behavior", "div", "divide", "enable_eager_execution", "equal", "exp", "expand_dims",
    "fill", "float16", "float32", "float64", "floor", "floordiv", "gather", "gather_nd", "get_collection",
    "get_default_graph", "get_default_session", "get_variable", "get_variable_scope", "global_norm",
    "global_variables", "global_variables_initializer", "gradients", "greater", "group", "identity",
    "initialize_all_variables", "int32", "int64", "less", "linspace", "local_variables",
    "local_variables_initializer", "log", "logical_and", "logical_not", "matmul", "matrix_determinant",
    "matrix_inverse", "maximum", "minimum", "mod", "multinomial", "multiply", "name_scope", "negative", "newaxis",
    "no_op", "not_equal", "one_hot", "ones", "ones_initializer", "ones_like", "pad", "placeholder",
    "placeholder_with_default", "pow", "random_normal", "random_normal_initializer", "random_uniform",
    "random_uniform_initializer", "range", "reduce_all", "reduce_max", "reduce_mean", "reduce_min", "reduce_sum",
    "reset_default_graph", "reshape", "round", "set_random_seed", "shape", "sigmoid", "sign", "sin", "slice", "split",
    "sqrt", "square", "squared_difference", "squeeze", "stack", "stop_gradient", "string", "subtract", "tanh", "tile",
    "to_float", "to_int32", "trainable_variables", "transpose", "truediv", "truncated_normal",
    "truncated_normal_initializer", "uint8", "unstack", "variable_scope", "variables_initializer",
    "variance_scaling_initializer", "where", "zeros", "zeros_initializer", "zeros_like", "app.flags", "app.run",
    "errors.OutOfRangeError", "flags.DEFINE_boolean", "flags.DEFINE_float", "flags.DEFINE_integer",
    "flags.DEFINE_string", "flags.FLAGS", "layers.average_pooling2d", "layers.conv2d", "layers.dense",
    "layers.dropout", "layers.max_pooling2d", "logging.INFO", "logging.fatal", "logging.info",
    "logging.set_verbosity", "losses.mean_squared_error", "losses.softmax_cross_entropy",
    "losses.sparse_softmax_cross_entropy", "nn.avg_pool", "nn.batch_normalization", "nn.bias_add", "nn.conv2d",
    "nn.conv2d_transpose", "nn.dropout", "nn.elu", "nn.embedding_lookup", "nn.in_top_k", "nn.l2_loss", "nn.lrn",
    "nn.max_pool", "nn.moments", "nn.relu", "nn.relu6", "nn.sigmoid", "nn.sigmoid_cross_entropy_with_logits",
    "nn.softmax", "nn.softmax_cross_entropy_with_logits", "nn.softmax_cross_entropy_with_logits_v2", "nn.softplus",
    "nn.sparse_softmax_cross_entropy_with_logits", "nn.tanh", "nn.top_k", "nn.xw_plus_b", "nn.zero_fraction",
    "nn.rnn_cell.BasicLSTMCell", "nn.rnn_cell.BasicRNNCell", "nn.rnn_cell.GRUCell", "nn.rnn_cell.MultiRNNCell",
    "contrib.layers.flatten", "contrib.layers.fully_connected", "contrib.rnn.BasicLSTMCell",
    "contrib.training.GreedyLoadBalancingStrategy", "test.TestCase", "test.main",
    "test.is_gpu_available", "test.compute_gradient", "test.compute_gradient_error", "train.AdagradOptimizer",
    "train.AdamOptimizer", "train.Server", "train.ServerDef",
    "container", "train.ClusterDef", "train.ClusterSpec", "train.ExponentialMovingAverage", "train.GradientDescentOptimizer",
    "train.MomentumOptimizer", "train.RMSPropOptimizer", "train.Saver", "train.checkpoint_exists",
    "train.create_global_step", "train.exponential_decay", "train.get_checkpoint_state", "train.get_global_step",
    "train.get_or_create_global_step", "train.latest_checkpoint", "train.piecewise_constant",
    "train.replica_device_setter", "AggregationMethod", "Assert", "DType", "DeviceSpec", "Dimension", "GPUOptions",
    "IndexedSlices", "NoGradient", "NotDifferentiable", "OpError", "Operation", "Print", "RegisterGradient",
    "ConditionalAccumulator", "FIFOQueue", "PaddingFIFOQueue", "PriorityQueue", "QueueBase", "RandomShuffleQueue",
    "SparseConditionalAccumulator", "queue.FIFOQueue", "train.Coordinator", "train.LooperThread", "train.QueueRunner",
    "train.SessionRunHook", "train.SyncReplicasOptimizer", "train.add_queue_runner", "train.batch", "train.batch_join",
    "train.input_producer", "train.limit_epochs", "train.range_input_producer", "train.shuffle_batch",
    "train.slice_input_producer", "train.start_queue_runners", "train.string_input_producer",
    "UnconnectedGradients", "VariableScope", "as_dtype", "assign_sub", "broadcast_static_shape", "broadcast_to",
    "colocate_with", "complex", "cumprod", "cumsum", "depth_to_space", "dimension_value", "disable_eager_execution",
    "dynamic_partition", "dynamic_stitch", "erf", "executing_eagerly", "eye", "floor_div", "floormod",
    "get_collection_ref", "get_local_variable", "get_seed", "get_static_value", "init_scope", "invert_permutation",
    "is_finite",
    "is_inf", "is_nan", "is_tensor", "lin_space", "matrix_diag", "matrix_diag_part", "matrix_set_diag", "meshgrid",
    "norm", "rank", "realdiv", "reduce_any", "reduce_logsumexp", "reduce_prod", "reverse", "reverse_sequence",
    "reverse_v2", "roll", "rsqrt", "saturate_cast", "scatter_add", "scatter_nd", "scatter_update", "segment_sum",
    "sequence_mask", "size", "space_to_depth", "strided_slice", "tensordot", "trace", "tuple", "unique",
    "unsorted_segment_sum", "with_dependencies", "nn.depth_to_space", "nn.depthwise_conv2d", "nn.log_softmax",
    "nn.selu", "nn.separable_conv2d", "nn.static_rnn", "nn.dynamic_rnn", "nn.bidirectional_dynamic_rnn",
    "assert_equal", "assert_less", "assert_positive", "assert_rank", "sort", "argsort", "matrix_band_part", "scalar_mul",
    "ensure_shape", "segment_max", "segment_mean", "unsorted_segment_max", "unsorted_segment_mean", "batch_to_space",
    "space_to_batch", "extract_image_patches", "einsum", "image.resize_images",
    "nn.nce_loss", "nn.sampled_softmax_loss", "nn.log_uniform_candidate_sampler",
    "summary.FileWriter", "summary.scalar", "summary.merge_all", "summary.histogram", "summary.merge", "summary.image",
    "train.SummaryWriter", "Summary", "scalar_summary", "merge_all_summaries", "train.Scaffold",
    "train.MonitoredTrainingSession", "train.Supervisor", "train.StopAtStepHook",
    "train.import_meta_graph", "train.write_graph", "summary.Summary", "summary.Event",
]  # fmt: skip

#: The modules of the public face, and those names in them that are standard modules only by accident of how Python imports.
FACES = [
    "",
    "nn",
    "train",
    "test",
    "errors",
    "losses",
    "layers",
    "sparse",
    "summary",
    "initializers",
    "flags",
    "app",
    "logging",
    "nn.rnn_cell",
    "distribute",
    "gfile",
    "compat",
]


#: The namespaces that hold TensorFlow's names and no others.
EXACT = {
    "gfile": """Copy DeleteRecursively Exists FastGFile FileStatistics GFile Glob IsDirectory ListDirectory MakeDirs MkDir Open
        Remove Rename Stat Walk""",
    "linalg": """band_part det diag diag_part einsum eye inv l2_normalize matmul norm set_diag tensor_diag tensor_diag_part
        tensordot trace""",
    "random": "multinomial normal set_random_seed shuffle truncated_normal uniform",
    "initializers": """constant global_variables glorot_normal glorot_uniform he_normal he_uniform identity lecun_normal
        lecun_uniform local_variables ones orthogonal random_normal random_uniform truncated_normal uniform_unit_scaling
        variables variance_scaling
        zeros""",
    "layers": "average_pooling2d batch_normalization conv2d dense dropout flatten max_pooling2d",
    "losses": """Reduction absolute_difference add_loss compute_weighted_loss get_losses get_regularization_loss
        get_regularization_losses get_total_loss hinge_loss huber_loss log_loss mean_squared_error
        sigmoid_cross_entropy softmax_cross_entropy sparse_softmax_cross_entropy""",
    "sparse": """SparseTensor add concat from_dense matmul placeholder reduce_sum reorder retain sparse_dense_matmul to_dense
        transpose""",
    "image": """ResizeMethod adjust_brightness adjust_contrast crop_to_bounding_box flip_left_right flip_up_down
        grayscale_to_rgb pad_to_bounding_box per_image_standardization random_brightness random_contrast
        random_flip_left_right random_flip_up_down resize_bilinear resize_image_with_crop_or_pad resize_images
        resize_nearest_neighbor rgb_to_grayscale transpose_image""",
    "summary": "FileWriter FileWriterCache audio histogram image merge merge_all scalar tensor_summary text",
    "nn.rnn_cell": """BasicLSTMCell BasicRNNCell DeviceWrapper DropoutWrapper GRUCell LSTMCell LSTMStateTuple MultiRNNCell RNNCell
        ResidualWrapper""",
}


def found(path: str) -> Any:
    thing: Any = wf
    for name in path.split("."):
        thing = getattr(thing, name) if name else thing
    return thing


@pytest.mark.parametrize("name", NAMES)
def test_the_name_is_there(name: str) -> None:
    assert hasattr(found(name.rpartition(".")[0]), name.rpartition(".")[2])


def test_the_list_names_each_once() -> None:
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("face", EXACT)
def test_no_import_leaks_into_a_namespace(face: str) -> None:
    assert sorted(name for name in vars(found(face)) if not name.startswith("_")) == sorted(EXACT[face].split())


def public() -> Iterator[tuple[str, Any]]:
    """What the faces offer of weft itself, by its name."""
    for face in FACES:
        for name in dir(found(face)):
            thing = getattr(found(face), name)
            inside = str(getattr(thing, "__module__", "")).startswith("weft")
            if not name.startswith("_") and (inspect.isfunction(thing) or inspect.isclass(thing)) and inside:
                yield f"{face}.{name}".lstrip("."), thing


def test_every_public_function_and_class_has_a_docstring() -> None:
    things = dict(public())
    assert len(things) > 250
    assert [name for name, thing in things.items() if not (thing.__doc__ or "").strip()] == []


#: What TensorFlow 1 does not offer, or under no public name.
OWN = {
    "explain_gradient", "hessian_vector_product", "jacobian", "per_example_gradients", "find_races", "Race",
    "RaceWarning", "CallableOptions", "flags.Flag", "flags.Flags", "recompute", "train.RecoveryPolicy", "train.ProgressHook",
    "train.MirroredOptimizer", "measure_costs", "CostModel",
}  # fmt: skip


def test_every_docstring_says_whose_name_it_is() -> None:
    """`Source:`, and the name in TensorFlow; errors and classes of weft's own have none."""
    without = {name for name, thing in public() if "Source:" not in (thing.__doc__ or "")}
    assert {name for name in without if not name.startswith("errors.") and not name.endswith("Error")} <= OWN


def test_each_name_of_the_facade_comes_from_weft() -> None:
    strangers = [
        name
        for name in dir(wf)
        if isinstance(thing := getattr(wf, name), ModuleType)
        and not name.startswith("_")
        and not thing.__name__.startswith("weft.")
    ]
    assert strangers == []


def test_names_can_be_imported_from_the_faces() -> None:
    for face in (
        "nn",
        "train",
        "errors",
        "losses",
        "sparse",
        "layers",
        "initializers",
        "flags",
        "app",
        "logging",
        "summary",
    ):
        module = found(face)
        assert sys.modules[module.__name__] is module
        assert importlib.import_module(module.__name__) is module


def test_what_is_loaded_later_is_what_type_checkers_see() -> None:
    """Both are written down: the first for who runs it, the second for who reads it."""
    (block,) = [node for node in ast.parse(inspect.getsource(wf)).body if isinstance(node, ast.If)]
    seen = {
        alias.asname: f"{node.module}.{alias.name}".removeprefix("None.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    later = {name: f"{module}.{name}" for name, module in wf._HOMES.items() if module != "train.events.protos"}
    modules = {name: module for name, module in wf._MODULES.items() if name != "cluster"}
    assert seen == {**later, **modules}
    assert [name for name in seen if name not in dir(wf) or not hasattr(wf, name)] == []


def test_aliases_are_the_same_thing() -> None:
    pairs = [
        (wf.arg_max, wf.argmax), (wf.arg_min, wf.argmin), (wf.lin_space, wf.linspace), (wf.floor_div, wf.floordiv),
        (wf.reverse_v2, wf.reverse), (wf.nn.lrn, wf.nn.local_response_normalization), (wf.app.flags, wf.flags),
        (wf.nn.depth_to_space, wf.depth_to_space), (wf.linalg.inv, wf.matrix_inverse), (wf.linalg.diag, wf.matrix_diag),
        (wf.linalg.tensor_diag, wf.diag), (wf.random.normal, wf.random_normal), (wf.gfile.Open, wf.gfile.GFile),
    ]  # fmt: skip
    for alias, thing in pairs:
        assert alias is thing


def test_functions_of_numbers_are_those_of_the_face_and_of_nn() -> None:
    names = [name for name in vars(wf.math) if not name.startswith("_")]
    assert len(names) > 90
    assert [name for name in names if getattr(wf.math, name) is not getattr(wf, name, getattr(wf.nn, name, None))] == []


def test_what_is_not_there_says_so() -> None:
    with pytest.raises(AttributeError, match="'weft' has no attribute 'no_such_thing'"):
        _ = wf.no_such_thing


def test_the_main_program_needs_nothing_but_the_facade() -> None:
    x = wf.placeholder(wf.float32, [None, 2])
    with wf.variable_scope("layer"):
        w = wf.get_variable("w", [2, 1], initializer=wf.zeros_initializer())
    loss = wf.reduce_mean(wf.square(wf.matmul(x, w) - 1.0))
    step = wf.train.GradientDescentOptimizer(0.1).minimize(loss)
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        losses = [session.run([loss, step], {x: [[1.0, 0.0], [0.0, 1.0]]})[0] for _ in range(3)]
    assert losses[0] == 1.0
    assert losses == sorted(losses, reverse=True)


SIGNATURES = {
    "DeviceSpec.from_string": "spec",
    "as_dtype": "type_value",
    "nn.max_pool": "value ksize strides padding data_format= name= input=",
    "nn.avg_pool": "value ksize strides padding data_format= name= input=",
    "nn.depthwise_conv2d": "input filter strides padding rate= name= data_format= dilations=",
    "layers.batch_normalization": """inputs axis= momentum= epsilon= center= scale= beta_initializer= gamma_initializer=
        moving_mean_initializer= moving_variance_initializer= beta_regularizer= gamma_regularizer= beta_constraint=
        gamma_constraint= training= trainable= name= reuse= renorm= renorm_clipping= renorm_momentum= fused=
        virtual_batch_size= adjustment=""",
    "get_variable": """name shape= dtype= initializer= regularizer= trainable= collections= caching_device= partitioner=
        validate_shape= use_resource= custom_getter= constraint= synchronization= aggregation=""",
    "get_local_variable": """name shape= dtype= initializer= regularizer= trainable= collections= caching_device=
        partitioner= validate_shape= use_resource= custom_getter= constraint= synchronization= aggregation=""",
    "VariableScope.get_variable": """self name shape= dtype= initializer= regularizer= reuse= trainable= collections=
        caching_device= partitioner= validate_shape= use_resource= custom_getter= constraint= synchronization=
        aggregation=""",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_arguments_are_called_as_in_tensorflow(name: str) -> None:
    parameters = inspect.signature(found(name)).parameters.values()
    assert [p.name + ("" if p.default is p.empty else "=") for p in parameters] == SIGNATURES[name].split()
