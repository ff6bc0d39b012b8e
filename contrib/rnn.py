"""`wf.contrib.rnn`: names only, TensorFlow's."""

from ..nn.recurrent import (
    BasicLSTMCell as BasicLSTMCell,
    BasicRNNCell as BasicRNNCell,
    GRUCell as GRUCell,
    LSTMStateTuple as LSTMStateTuple,
    MultiRNNCell as MultiRNNCell,
    RNNCell as RNNCell,
    static_rnn as static_rnn,
)
from ..nn.recurrent_wrappers import (
    DeviceWrapper as DeviceWrapper,
    DropoutWrapper as DropoutWrapper,
    LSTMCell as LSTMCell,
    ResidualWrapper as ResidualWrapper,
)
