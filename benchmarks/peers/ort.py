"""ONNX Runtime, CPU provider, all graph optimisations, inputs and outputs bound once."""

import onnxruntime


def version():
    return f"ONNX Runtime {onnxruntime.__version__}"


def prepare(model, inputs, scratch):
    return model


def load(prepared, inputs, threads, entries=()):
    options = onnxruntime.SessionOptions()
    for key, value in entries:
        options.add_session_config_entry(key, value)
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(prepared), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_cpu_input(name, array)
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu")
    return lambda: session.run_with_iobinding(binding), binding.copy_outputs_to_cpu
