"""`wf.nn`: neural-network operations and what is composed of them."""

from ..graph.ops.activations import (
    bias_add as bias_add,
    crelu as crelu,
    elu as elu,
    leaky_relu as leaky_relu,
    relu as relu,
    relu6 as relu6,
    relu_layer as relu_layer,
    selu as selu,
    softplus as softplus,
    softsign as softsign,
    xw_plus_b as xw_plus_b,
)
from ..graph.ops.candidates import (
    log_uniform_candidate_sampler as log_uniform_candidate_sampler,
    uniform_candidate_sampler as uniform_candidate_sampler,
)
from ..graph.ops.conv import conv1d as conv1d, conv2d as conv2d, conv2d_transpose as conv2d_transpose
from ..graph.ops.depthwise import depthwise_conv2d as depthwise_conv2d, separable_conv2d as separable_conv2d
from ..graph.ops.dropout import dropout as dropout
from ..graph.ops.losses import (
    l2_loss as l2_loss,
    sigmoid_cross_entropy_with_logits as sigmoid_cross_entropy_with_logits,
    softmax_cross_entropy_with_logits as softmax_cross_entropy_with_logits,
    softmax_cross_entropy_with_logits_v2 as softmax_cross_entropy_with_logits_v2,
    sparse_softmax_cross_entropy_with_logits as sparse_softmax_cross_entropy_with_logits,
    weighted_cross_entropy_with_logits as weighted_cross_entropy_with_logits,
)
from ..graph.ops.normalization import (
    batch_normalization as batch_normalization,
    l2_normalize as l2_normalize,
    local_response_normalization as local_response_normalization,
    moments as moments,
    zero_fraction as zero_fraction,
)
from ..graph.ops.pooling import avg_pool as avg_pool, max_pool as max_pool
from ..graph.ops.reordering import depth_to_space as depth_to_space, space_to_depth as space_to_depth
from ..graph.ops.selecting import in_top_k as in_top_k, top_k as top_k
from ..graph.ops.softmax import log_softmax as log_softmax, softmax as softmax
from ..graph.ops.special import sigmoid as sigmoid
from ..graph.ops.transcendental import tanh as tanh
from . import rnn_cell as rnn_cell
from .dynamic_rnn import bidirectional_dynamic_rnn as bidirectional_dynamic_rnn, dynamic_rnn as dynamic_rnn
from .embedding import embedding_lookup as embedding_lookup, embedding_lookup_sparse as embedding_lookup_sparse
from .recurrent import static_rnn as static_rnn
from .sampled_losses import nce_loss as nce_loss, sampled_softmax_loss as sampled_softmax_loss

# A second name.
lrn = local_response_normalization
