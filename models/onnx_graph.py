"""A small writer of convolutional ONNX graphs whose file is the same, byte for byte, on every run.

Every graph has one input `image`, (1, 3, height, width) f32 with free height and width, and one output per tap,
named as the tap. Shapes: weights are (out, in / groups, k, k); biases and batch-norm vectors are (out,).
"""

import hashlib

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

# Opset 13 is the oldest that all readers in question share; IR 7 is the version that came with it.
OPSET, IR_VERSION = 13, 7


class Graph:
    """Collects nodes and weights in the order in which they are added. Each method returns its output's name."""

    def __init__(self):
        self.nodes, self.weights = [], []

    def weight(self, name, value, dtype=np.float32):
        self.weights.append(numpy_helper.from_array(np.array(value, dtype, order="C"), name))
        return name

    def node(self, kind, name, inputs, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def conv(self, name, x, weight, bias=None, *, stride=1, pads=(0, 0), groups=1):
        """Convolution; `pads` is (before, after) in pixels, the same for rows and columns."""
        inputs = [x, self.weight(f"{name}.weight", weight)]
        if bias is not None:
            inputs.append(self.weight(f"{name}.bias", bias))
        return self.node("Conv", name, inputs, kernel_shape=weight.shape[2:], strides=[stride] * 2,
                         pads=[pads[0]] * 2 + [pads[1]] * 2, dilations=[1, 1], group=groups)

    def batch_norm(self, name, x, scale, bias, mean, variance, epsilon):
        parts = {"scale": scale, "bias": bias, "mean": mean, "variance": variance}
        inputs = [x] + [self.weight(f"{name}.{key}", value) for key, value in parts.items()]
        return self.node("BatchNormalization", name, inputs, epsilon=epsilon)

    def relu(self, name, x):
        return self.node("Relu", name, [x])

    def relu6(self, name, x):
        if not any(weight.name == "six" for weight in self.weights):
            self.weight("zero", 0.0)
            self.weight("six", 6.0)
        return self.node("Clip", name, [x, "zero", "six"])

    def add(self, name, a, b):
        return self.node("Add", name, [a, b])

    def max_pool(self, name, x, *, size, stride, pad):
        return self.node("MaxPool", name, [x], kernel_shape=[size] * 2, strides=[stride] * 2, pads=[pad] * 4)

    def serialise(self, name, taps):
        """The file's bytes; `taps` maps each graph output to its channels, in the order of the network."""
        # The outputs' height and width stay open: a formula of them would have to be parsed by every reader.
        outputs = [helper.make_tensor_value_info(tap, TensorProto.FLOAT, [1, channels, None, None])
                   for tap, channels in taps.items()]
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "height", "width"])
        graph = helper.make_graph(self.nodes, name, [image], outputs, self.weights)
        model = helper.make_model(graph, producer_name="rejectd", ir_version=IR_VERSION,
                                  opset_imports=[helper.make_opsetid("", OPSET)])
        checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)


def sha256(data):
    return hashlib.sha256(data).hexdigest()
