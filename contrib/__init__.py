"""`wf.contrib`: what TensorFlow 1 programs take most often from `tf.contrib`, made of what weft has elsewhere."""

from . import framework as framework, layers as layers, rnn as rnn, seq2seq as seq2seq, training as training
