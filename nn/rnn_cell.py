"""`wf.nn.rnn_cell`: names only, TensorFlow's."""

from .recurrent import (
    BasicLSTMCell as BasicLSTMCell,
    BasicRNNCell as BasicRNNCell,
    GRUCell as GRUCell,
    LSTMStateTuple as LSTMStateTuple,
    MultiRNNCell as MultiRNNCell,
    RNNCell as RNNCell,
)
from .recurrent_wrappers import (
    DeviceWrapper as DeviceWrapper,
    DropoutWrapper as DropoutWrapper,
    LSTMCell as LSTMCell,
    ResidualWrapper as ResidualWrapper,
)
