"""OpenVINO, CPU plugin, latency hint, f32 (no silent bfloat16), static shapes."""

import openvino


def version():
    return f"OpenVINO {openvino.__version__.split('-')[0]}"


def prepare(model, inputs, scratch):
    return model


def load(prepared, inputs, threads):
    core = openvino.Core()
    network = core.read_model(str(prepared))
    network.reshape({name: list(array.shape) for name, array in inputs.items()})
    compiled = core.compile_model(
        network,
        "CPU",
        {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False},
    )
    request = compiled.create_infer_request()
    for name, array in inputs.items():
        request.set_tensor(name, openvino.Tensor(array))
    return request.infer, lambda: [request.get_output_tensor(i).data.copy() for i in range(len(compiled.outputs))]
