"""A program that takes the command line of trtexec 8.2 (or 10.3), for where there is no GPU.

It proves what is written and read, not a speed: it parses the ONNX file, keeps it as the "engine",
and runs it on the processor with onnxruntime. Options, messages and the exported file have the form
of the source of trtexec (`sampleOptions.cpp`, `sampleReporting.cpp` of NVIDIA's TensorRT); what the
real one checks of a model is here the operators that bench models use. Every command is written to
the file named by TRTEXEC_LOG.
"""

import json
import os
import sys
import time
from pathlib import Path

VERSION = int(os.environ.get("TRTEXEC_VERSION", "8201"))
OLD = VERSION < 8400
FLAGS = {"--fp16", "--noDataTransfers", "--useSpinWait", "--help"}
FLAGS |= {"--buildOnly"} if OLD else {"--skipInference"}
VALUES = {
    "--onnx", "--saveEngine", "--loadEngine", "--timingCacheFile", "--warmUp", "--iterations",
    "--duration", "--exportTimes", "--avgRuns", "--percentile",
}  # fmt: skip
VALUES |= {"--workspace"} if OLD else {"--memPoolSize"}
OPERATORS = {
    "Conv", "Relu", "Clip", "HardSigmoid", "Mul", "Add", "GlobalAveragePool", "Flatten", "Gemm",
    "Concat", "MaxPool", "Reshape", "Sigmoid", "Split", "Transpose",
}  # fmt: skip
HEADER = b"engine of %d, fp16\n" % VERSION


def fail(*errors):
    for error in errors:
        print(f"[11/20/2026-12:00:00] [E] {error}", file=sys.stderr)
    print(f"&&&& FAILED {banner()}")
    sys.exit(1)


def banner():
    build = "" if OLD else " [b23]"
    return f"TensorRT.trtexec [TensorRT v{VERSION}]{build} # {' '.join(sys.argv)}"


def parse(arguments):
    options = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name not in (VALUES if equals else FLAGS):
            fail(f"Unknown option: {name} {value}")
        options[name] = value
    if "--loadEngine" in options and "--saveEngine" in options:
        fail("Incompatible load and save engine options selected")
    if "--loadEngine" not in options and "--onnx" not in options:
        fail("Model missing or format not recognized")
    for name in ("--workspace", "--warmUp", "--iterations", "--duration"):
        if not options.get(name, "0").isdigit():
            fail(f"{name}: stoi")
    return options


def build(options):
    import onnx

    path = Path(options["--onnx"])
    try:
        model = onnx.load_model_from_string(path.read_bytes())
        onnx.checker.check_model(model, check_custom_domain=False)
        unknown = []
    except onnx.checker.ValidationError:
        unknown = [n for n in model.graph.node if n.op_type not in OPERATORS]
        if not unknown:
            fail("[TRT] ModelImporter.cpp:735: Failed to parse ONNX model", "Engine set up failed")
    except Exception:  # protobuf's errors
        fail(f"[TRT] Could not parse ONNX model from file: {path}", "Engine set up failed")
    unknown = unknown or [n for n in model.graph.node if n.op_type not in OPERATORS]
    if unknown:
        number = list(model.graph.node).index(unknown[0])
        node = f'[{unknown[0].op_type} -> "{unknown[0].output[0]}"]'
        fail(f"[TRT] ModelImporter.cpp:773: While parsing node number {number} {node}:",
             "Engine set up failed")  # fmt: skip
    if OLD and (model.opset_import[0].version > 13 or model.ir_version > 7):
        fail(f"[TRT] opset {model.opset_import[0].version}, IR {model.ir_version} are too new")
    if "--fp16" not in options or (OLD and int(options.get("--workspace", "16")) <= 16):
        fail("not built as it should be measured")
    cache = Path(options["--timingCacheFile"])
    cache.write_bytes((cache.read_bytes() if cache.exists() else b"") + b"kernels\n")
    Path(options["--saveEngine"]).write_bytes(HEADER + path.read_bytes())


def infer(options):
    import numpy
    import onnxruntime

    engine = Path(options["--loadEngine"]).read_bytes()
    if not engine.startswith(HEADER):
        fail("[TRT] 1: [stdArchiveReader.cpp::35] Error Code 1: Serialization (Version tag does "
             "not match)", "Engine set up failed")  # fmt: skip
    session = onnxruntime.InferenceSession(
        engine[len(HEADER) :], providers=["CPUExecutionProvider"]
    )
    first = session.get_inputs()[0]
    feed = {first.name: numpy.zeros(first.shape, "float32")}
    session.run(None, feed)
    runs = []
    for _ in range(int(options["--iterations"])):
        start = time.perf_counter()
        session.run(None, feed)
        runs.append(1e3 * (time.perf_counter() - start))
    warm_up_ms = float(options["--warmUp"])
    # Version 8.2 exports the warm-up, too: here it is far too slow, so that nobody overlooks it.
    trace = [(0.0, 1e6), (0.5 * warm_up_ms, 1e6)] if OLD else []
    now = warm_up_ms
    for run in runs:
        trace.append((now, run))
        now += run
    Path(options["--exportTimes"]).write_text(exported(trace))


def exported(trace):
    """The text that exportJSONTrace writes; version 8.2 has one name more."""
    lines = []
    for start, compute in trace:
        end = start + compute
        found = {
            "startEnqMs": start, "endEnqMs": start + 0.01, "startH2dMs": start, "endH2dMs": start,
            "startComputeMs": start, "endComputeMs": end, "startD2hMs": end, "endD2hMs": end,
            "h2dMs": 0, "computeMs": compute, "d2hMs": 0, "latencyMs": compute,
            **({"endToEndMs": compute} if OLD else {}),
        }  # fmt: skip
        lines.append("{ " + ", ".join(f'"{k}" : {json.dumps(v)}' for k, v in found.items()) + " }")
    return "[\n  " + "\n, ".join(lines) + "\n]\n"


def main():
    print(f"&&&& RUNNING {banner()}")
    if "TRTEXEC_LOG" in os.environ:
        with open(os.environ["TRTEXEC_LOG"], "a") as file:
            file.write(" ".join(sys.argv[1:]) + "\n")
    if "--help" in sys.argv:
        return
    options = parse(sys.argv[1:])
    build(options) if "--onnx" in options else infer(options)
    print(f"&&&& PASSED {banner()}")


if __name__ == "__main__":
    main()
