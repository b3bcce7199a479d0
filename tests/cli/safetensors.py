"""The safetensors format for tests: whole files as arrays, and headers to break."""

import json
import struct

import numpy

DTYPES = {"F32": numpy.float32, "F16": numpy.float16, "I64": numpy.int64, "BF16": numpy.uint16}


def split(data):
    """Header (a dict, in the file's order) and raw data of a file's bytes."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join(header, data):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def read(path):
    """Tensor name to array; bf16 as its bits (uint16)."""
    header, data = split(path.read_bytes())
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        arrays[name] = numpy.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def write(path, arrays):
    names = {numpy.dtype(kind): name for name, kind in DTYPES.items()}
    header, data = {}, b""
    for name, array in arrays.items():
        raw = numpy.ascontiguousarray(array).tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
        data += raw
    path.write_bytes(join(header, data))
