"""The peers' half of benches/side_by_side, and the table.

A process for each number of threads is pinned to as many cores and runs all sides alternately: ours through a pipe
(benches/side_by_side.rs), the peers in the process itself. anomalib's networks have random weights, since no weights are
downloaded; that changes neither their shapes nor their time. Its bank is a random tenth of the embeddings of 100 pictures,
for its coreset of them takes a quarter of an hour; the coreset is timed by itself, on 50 pictures.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PX = 256
PATCHES = 1024
CORESET = 0.1
ROUNDS = 30
PAUSE_S = 0.3


class Ours:
    """Our side: a line of work in, milliseconds out."""

    def __init__(self):
        command = ["cargo", "bench", "--quiet", "--bench", "side_by_side"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def timed(work):
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


def alternately(sides, rounds):
    """Milliseconds of each side. Before its turn the threads of the last one get time to go to sleep, for some of them
    wait for more work in a loop; then it works once without being timed."""
    times = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            time.sleep(PAUSE_S)
            side()
            times[name].append(side())
    return times


def rows(work, times, threads, targets):
    """A row for each peer, of medians."""
    ours = statistics.median(times["ours"])
    for peer, target in targets.items():
        theirs = statistics.median(times[peer])
        yield dict(work=work, peer=peer, threads=threads, ours=ours, theirs=theirs, unit="ms", ratio=ours / theirs,
                   target=target, spread=[spread(times["ours"]), spread(times[peer])])


def spread(times):
    """Half the distance of the quartiles, relative to the median."""
    low, middle, high = statistics.quantiles(times, n=4)
    return (high - low) / 2 / middle


def backbone(ours, threads):
    import numpy
    import onnxruntime
    import openvino

    model = str(ROOT / "models/efficientnet-lite0.onnx")
    picture = numpy.full((1, 3, PX, PX), 0.25, dtype="float32")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def compiled(precision):
        hints = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
        request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()
        return lambda: timed(lambda: request.infer({"image": picture}))

    sides = {
        "ours": lambda: ours.run(f"backbone {PX} {threads}"),
        "ONNX Runtime": lambda: timed(lambda: session.run(["stage3", "stage5"], {"image": picture})),
        "OpenVINO f32": compiled("f32"),
        "OpenVINO bf16": compiled("bf16"),
    }
    stock = {"tract's own operations": lambda: ours.run(f"stock {PX} 1")} if threads == 1 else {}
    targets = {name: None for name in stock} | {"ONNX Runtime": 1.2, "OpenVINO f32": 2.0, "OpenVINO bf16": None}
    return rows(f"backbone, {PX} px", alternately(sides | stock, ROUNDS), threads, targets)


def search(ours, threads):
    import faiss
    import numpy

    faiss.omp_set_num_threads(threads)
    random = numpy.random.default_rng(0)

    def unit(count, width):
        values = random.standard_normal((count, width)).astype("float32")
        return values / numpy.linalg.norm(values, axis=1, keepdims=True)

    for width in (64, 152):
        for count in (2_000, 20_000, 100_000):
            index = faiss.IndexFlatIP(width)
            index.add(unit(count, width))
            queries = unit(PATCHES, width)
            sides = {
                "ours": lambda: ours.run(f"search {count} {width} {threads}"),
                "faiss IndexFlatIP": lambda: timed(lambda: index.search(queries, 1)),
            }
            times = alternately(sides, ROUNDS if count == 2_000 else 7)
            yield from rows(f"search, {PATCHES} × {count} × {width}", times, threads, {"faiss IndexFlatIP": 1.0})


def pictures(folder):
    import numpy
    from PIL import Image

    return [numpy.asarray(Image.open(file).convert("RGB").resize((PX, PX))) for file in sorted(folder.iterdir())]


def tensor(picture):
    """A decoded frame as the exported models want it."""
    import numpy

    return numpy.ascontiguousarray(picture.transpose(2, 0, 1)[None], dtype="float32") / 255


def patch_core(images):
    import torch
    from anomalib.models import Patchcore

    torch.manual_seed(0)
    layers = ("layer2", "layer3")
    model = Patchcore(backbone="resnet18", layers=layers, pre_trained=False, coreset_sampling_ratio=CORESET)
    model.model.train()
    with torch.no_grad():
        embeddings = torch.vstack([model.model(torch.from_numpy(tensor(picture))) for picture in images])
    model.model.embedding_store.clear()
    keep = torch.randperm(len(embeddings))[: int(CORESET * len(embeddings))]
    model.model.memory_bank = embeddings[keep]
    return model.eval()


def inspection(ours, threads, folder, exported):
    import onnxruntime
    import openvino
    import torch

    torch.set_num_threads(threads)
    images = pictures(folder)
    model = patch_core(images)
    static = dict(dynamic_axes=None, dynamic_shapes=None)
    onnx = model.to_onnx(exported, input_size=(PX, PX), **static)
    xml = model.to_openvino(exported, input_size=(PX, PX), onnx_kwargs=static)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    request = openvino.Core().compile_model(str(xml), "CPU", {"INFERENCE_NUM_THREADS": threads}).create_infer_request()
    at = iter(images * ROUNDS)

    def in_torch():
        with torch.no_grad():
            model(torch.from_numpy(tensor(next(at))))

    sides = {
        "ours": lambda: ours.run(f"inspect {folder} 2000 {threads}"),
        "anomalib PatchCore, OpenVINO": lambda: timed(lambda: request.infer([tensor(next(at))])),
        "anomalib PatchCore, ONNX Runtime": lambda: timed(lambda: session.run(None, {name: tensor(next(at))})),
        "anomalib PatchCore, torch": lambda: timed(in_torch),
    }
    names = list(sides)[1:]
    return rows("inspection, frame to verdict", alternately(sides, 15), threads, dict(zip(names, (0.15, 0.11, 0.10))))


def teaching(ours, threads, folder):
    import torch
    from anomalib.models import Patchcore

    torch.set_num_threads(threads)

    def fit():
        model = Patchcore(backbone="resnet18", layers=("layer2", "layer3"), pre_trained=False).model.train()
        with torch.no_grad():
            for picture in pictures(folder):
                model(torch.from_numpy(tensor(picture)))
        model.subsample_embedding(CORESET)

    times = {"ours": [ours.run(f"teach {folder} {CORESET} {threads}") for _ in range(3)], "anomalib PatchCore": [timed(fit)] * 2}
    return rows("teaching 50 pictures, coreset of a tenth", times, threads, {"anomalib PatchCore": 0.05})


def peak_mib(command):
    """Largest resident memory of a command, by its own account in /proc."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert peak > before, "a larger child came before"
    return peak / 1024


def memory(folder, few, exported):
    """Each in a process of its own, for only the largest of all children is told."""
    rejectd = ROOT / "target/release/rejectd"
    profile = exported / "p.profile"
    subprocess.run([rejectd, "teach", "--from", folder, "--profile", profile, "--metric", "none", "--threads", "1"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    script = (
        "import sys, numpy, openvino; "
        "request = openvino.Core().compile_model(sys.argv[1], 'CPU').create_infer_request(); "
        "[request.infer([numpy.zeros((1, 3, 256, 256), 'float32')]) for _ in range(5)]"
    )
    measured = [
        subprocess.run([sys.executable, __file__, "--peak", *map(str, command)], check=True, capture_output=True, text=True)
        for command in (
            [rejectd, "inspect", "--profile", profile, few],
            [sys.executable, "-c", script, exported / "weights/openvino/model.xml"],
        )
    ]
    ours, theirs = (float(process.stdout.split()[-1]) for process in measured)
    yield dict(work="peak memory of inspection", peer="a process with OpenVINO and anomalib's model", threads=2, ours=ours,
               theirs=theirs, unit="MiB", ratio=ours / theirs, target=0.3, spread=[0, 0])


def worker(threads, folder, few, exported, quick):
    warnings.filterwarnings("ignore")
    ours = Ours()
    found = [*backbone(ours, threads), *search(ours, threads), *inspection(ours, threads, folder, exported)]
    if not quick:
        found += teaching(ours, threads, few)
    return found


def measure(threads, cores, *arguments):
    """The rows of a process of its own, pinned to some cores."""
    hidden = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment |= {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, __file__, "--worker", str(threads), *map(str, arguments)]
    pin = lambda: os.sched_setaffinity(0, cores)
    output = subprocess.run(command, env=environment, preexec_fn=pin, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(output.splitlines()[-1])


def cpu():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    names = {key.strip(): value.strip() for key, value in fields.items()}
    units = [unit for unit in ("avx2", "avx512f", "avx512_bf16", "asimd") if unit in names.get("flags", names.get("Features", ""))]
    return f"{names.get('model name', platform.machine())}, family {names.get('cpu family', '?')} model {names.get('model', '?')} ({', '.join(units)})"


def print_table(found):
    print("| work | threads | ours | peer | theirs | ours / theirs | target |")
    print("|---|---|---|---|---|---|---|")
    for row in found:
        unit, (ours, theirs) = row["unit"], row["spread"]
        target = "" if row["target"] is None else f"≤ {row['target']}" + ("" if row["ratio"] <= row["target"] else ", missed")
        print(f"| {row['work']} | {row['threads']} | {row['ours']:.4g} {unit} ± {ours:.0%} | {row['peer']} "
              f"| {row['theirs']:.4g} {unit} ± {theirs:.0%} | {row['ratio']:.3f} | {target} |")


def main():
    if sys.argv[1:2] == ["--worker"]:
        threads, folder, few, exported, quick = sys.argv[2:]
        print(json.dumps(worker(int(threads), Path(folder), Path(few), Path(exported), quick == "True")))
        return
    if sys.argv[1:2] == ["--peak"]:
        print(peak_mib(sys.argv[2:]))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        folder, few = scratch / "pictures", scratch / "few"
        render = Ours()
        render.run(f"render {few} 50 {PX}")
        render.run(f"render {folder} 100 {PX}")
        folder = arguments.images or folder
        found = []
        for threads in (1, 2):
            if threads > len(cores):
                print(f"SKIPPED two threads: this machine grants {len(cores)} core", file=sys.stderr)
                continue
            found += measure(threads, cores[:threads], folder, few, scratch, arguments.quick)
        found += memory(few, few, scratch)
    print(f"{cpu()}; median of the rounds ± half the distance of the quartiles\n")
    print_table(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
