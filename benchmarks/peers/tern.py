"""tern through libtern.so, as any other program would embed it: for what it adds to a process beside what peers add to theirs (cpu.py
takes its times from `tern bench`)."""

import ctypes
import os
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from pathlib import Path

import numpy as np

LIBRARY = ctypes.CDLL(Path(os.environ["TERN_LIBRARY"]))
DTYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16, 11: np.float64, 12: np.uint32, 13: np.uint64}
NUMBERS = {np.dtype(t): n for n, t in DTYPES.items()}
DIMS, STATIC, SYMBOL = 16, 0, 1


class ModuleDesc(Structure):
    _fields_ = [("code_policy", c_int), ("verify_weights", c_uint32), ("release", c_void_p), ("release_self", c_void_p)]


class DeviceDesc(Structure):
    _fields_ = [("driver", c_char_p), ("ordinal", c_uint32), ("thread_count", c_uint32), ("executor", c_void_p), ("memory_limit", c_uint64), ("driver_options", c_void_p)]


class DimInfo(Structure):
    _fields_ = [("value", c_int64), ("kind", c_int), ("text", c_char_p)]


class TensorInfo(Structure):
    _fields_ = [("name", c_char_p), ("dtype", c_uint32), ("rank", c_uint32), ("dims", DimInfo * DIMS), ("optional", c_uint32), ("donor", c_int32)]


class SymbolInfo(Structure):
    _fields_ = [("name", c_char_p), ("min", c_int64), ("max", c_int64), ("hint", c_int64), ("multiple_of", c_int64)]


class DimBound(Structure):
    _fields_ = [("symbol", c_char_p), ("max", c_int64)]


class SessionDesc(Structure):
    _fields_ = [("function", c_char_p), ("bounds", POINTER(DimBound)), ("bound_count", c_uint32), ("profile_capacity", c_uint32), ("arena_limit", c_uint64)]
    _fields_ += [("dynamic_limit", c_uint64), ("step_limit", c_uint64), ("static_kernels", c_void_p), ("static_kernel_count", c_uint32)]


class Tensor(Structure):
    _fields_ = [("data", c_void_p), ("size", c_uint64), ("dtype", c_uint32), ("rank", c_uint32), ("owner", c_uint32), ("dims", c_int64 * DIMS), ("buffer", c_void_p), ("buffer_offset", c_uint64)]


class Invoke(Structure):
    _fields_ = [("inputs", POINTER(Tensor)), ("outputs", POINTER(Tensor)), ("input_count", c_uint32), ("output_count", c_uint32), ("timeout_ns", c_uint64)]


LIBRARY.tern_status_message.restype = c_char_p
LIBRARY.tern_instance_drivers.restype = c_void_p


def must(name, *arguments):
    function = getattr(LIBRARY, name)
    function.restype = c_void_p
    if status := function(*arguments):
        raise ValueError(LIBRARY.tern_status_message(c_void_p(status)).decode())


def made(name, *arguments):
    """The object that a function stores in its last parameter."""
    out = c_void_p()
    must(name, *arguments, byref(out))
    return out


def version():
    return "tern"


def symbols(module, arrays):
    """Bounds of the symbols that the inputs' shapes give a value."""
    bounds = {}
    for i, array in enumerate(arrays):
        info = TensorInfo()
        must("tern_module_input_info", module, c_uint32(0), c_uint32(i), byref(info))
        for dim, extent in zip(info.dims, array.shape):
            if dim.kind == SYMBOL:
                symbol = SymbolInfo()
                must("tern_module_symbol_info", module, c_uint32(dim.value), byref(symbol))
                bounds[symbol.name] = extent
    return (DimBound * len(bounds))(*bounds.items())


def place(module, index, tensor):
    """An array in which the session is to put a result whose shape is known; without, the session keeps it."""
    info = TensorInfo()
    must("tern_module_output_info", module, c_uint32(0), c_uint32(index), byref(info))
    if any(d.kind != STATIC for d in info.dims[: info.rank]):
        return None
    array = np.empty([d.value for d in info.dims[: info.rank]], DTYPES[info.dtype])
    tensor.data, tensor.size = array.ctypes.data, array.nbytes
    return array


def copied(tensor):
    shape = tensor.dims[: tensor.rank]
    data = (ctypes.c_char * tensor.size).from_address(tensor.data) if tensor.size else b""
    return np.frombuffer(data, DTYPES[tensor.dtype])[: int(np.prod(shape))].reshape(shape).copy()


def load(prepared, inputs, threads):
    instance = made("tern_instance_create", None)
    must("tern_cpu_driver_register", c_void_p(LIBRARY.tern_instance_drivers(instance)))
    device = made("tern_device_create", instance, byref(DeviceDesc(thread_count=threads)))
    module = made("tern_module_load_file", instance, os.fsencode(prepared), byref(ModuleDesc(code_policy=1)))
    count = LIBRARY.tern_module_input_count(module, 0)
    order = {LIBRARY.tern_module_find_input(module, 0, name.encode()): array for name, array in inputs.items()}
    arrays = [order[i] for i in range(count)]
    bounds = symbols(module, arrays)
    session = made("tern_session_create", module, device, byref(SessionDesc(bounds=bounds, bound_count=len(bounds))))
    given = (Tensor * count)(*[Tensor(a.ctypes.data, a.nbytes, NUMBERS[a.dtype], a.ndim, 0, a.shape) for a in arrays])
    outputs = (Tensor * LIBRARY.tern_module_output_count(module, 0))()
    mine = [place(module, i, t) for i, t in enumerate(outputs)]
    call = Invoke(given, outputs, count, len(outputs))

    def run(kept=(arrays, mine)):  # their memory is the call's, also when nobody asks for outputs any more
        must("tern_session_invoke", session, byref(call))

    return run, lambda: [m if m is not None else copied(t) for m, t in zip(mine, outputs)]
