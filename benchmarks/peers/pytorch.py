"""PyTorch, torch.compile with weights frozen (packed ahead of time, as for a deployed model), channels-last images, f32.
The ONNX graph becomes PyTorch calls by onnx_fx.py and torch.export."""

from importlib import metadata


def version():
    return f"PyTorch {metadata.version('torch')} (inductor)"


def prepare(model, inputs, scratch):
    return model


def load(prepared, inputs, threads):
    import onnx
    import torch
    import torch._inductor.config as inductor

    import peers.onnx_fx as onnx_fx

    torch.set_num_threads(threads)
    inductor.freezing = True
    arguments = [torch.from_numpy(a) for a in inputs.values()]
    arguments = [a.contiguous(memory_format=torch.channels_last) if a.dim() == 4 and a.shape[1] == 3 else a for a in arguments]
    with torch.no_grad():
        network = onnx_fx.Network(onnx.load(prepared), arguments)
        module = torch.export.export(network, tuple(arguments), strict=False).module()
        del network
        compiled = torch.compile(module)
        try:
            compiled(*arguments)
        except Exception:  # freezing folds an addition into a transposed convolution wrongly (2.15): then without
            torch._dynamo.reset()
            inductor.freezing = False
            compiled = torch.compile(module)
    last = []

    def run():
        with torch.no_grad():
            last[:] = compiled(*arguments)

    return run, lambda: [t.numpy().copy() for t in last]
