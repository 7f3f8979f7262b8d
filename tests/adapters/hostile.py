"""Hostile and damaged checkpoints, made from scratch and the same every time.

Every one of them must end in one CheckpointError, soon, in little memory, with nothing run.
"""

# ruff: noqa: E501 (tables, a few files to the line)

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

CALLS = [
    ("posix", "system", "exit 0"), ("nt", "system", "exit 0"), ("os", "system", "exit 0"),
    ("subprocess", "Popen", "true"), ("subprocess", "check_output", "true"),
    ("builtins", "eval", "1+1"), ("builtins", "exec", "x=1"), ("builtins", "compile", "1"),
    ("builtins", "open", "/tmp/riboswitch-hostile"), ("builtins", "getattr", "os"),
    ("builtins", "__import__", "os"), ("builtins", "print", "x"), ("__builtin__", "eval", "1"),
    ("importlib", "import_module", "antigravity"), ("runpy", "run_path", "x.py"),
    ("torch", "load", "x.pt"), ("torch.hub", "load", "x"), ("numpy", "load", "x.npy"),
    ("numpy.testing._private.utils", "runstring", "x"), ("pickle", "loads", "x"),
    ("operator", "attrgetter", "system"), ("types", "CodeType", "x"), ("socket", "socket", ""),
    ("torch.jit", "load", "x"), ("code", "interact", "x"), ("webbrowser", "open", "x"),
    ("torch._utils", "_rebuild_sparse_tensor", "x"), ("torch._utils", "_rebuild_qtensor", "x"),
    ("torch.storage", "_load_from_bytes", "x"), ("copyreg", "_reconstructor", "x"),
    ("collections", "OrderedDict.fromkeys", "x"), ("functools", "partial", "x"),
    ("torch", "FloatStorage", "x"), ("argparse", "Namespace", "x"), ("numpy", "ndarray", "x"),
    ("builtins", "bytearray", "x"), ("builtins", "set", "x"), ("ctypes", "CDLL", "x"),
]  # fmt: skip
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def pickled(value: Any) -> bytes:
    """Opcodes for a value; `bytes` are opcodes already."""
    if isinstance(value, bytes):
        return value
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(raw)]) + raw
    if isinstance(value, str):
        return text(value)
    if isinstance(value, tuple):
        return b"(" + b"".join(map(pickled, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(pickled, value)) + b"e"
    return b"}(" + b"".join(pickled(k) + pickled(v) for k, v in value.items()) + b"u"


def call(name: str, *args: Any) -> bytes:
    return b"c" + name.encode() + b"\n" + pickled(args) + b"R"


def storage(count: Any, kind: str = "FloatStorage", key: Any = "0", *more: Any) -> bytes:
    return (
        pickled(("storage", b"ctorch\n" + kind.encode() + b"\n", key, "cpu", count, *more)) + b"Q"
    )


def tensor(shape: Any, strides: Any, offset: Any = 0, count: Any = 6, **kind: Any) -> bytes:
    empty = call("collections\nOrderedDict")
    stored = storage(count, **kind)
    return call("torch._utils\n_rebuild_tensor_v2", stored, offset, shape, strides, False, empty)


def whole(body: Any, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + pickled(body) + b"."


GOOD = tensor((2, 3), (3, 1))
SIX = struct.pack("<6f", *range(6))


def zipped(body: bytes, *entries: tuple[str, bytes], method: int = 0) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in (("data.pkl", body), ("byteorder", b"little"), *entries):
            # A fixed date: the files are the same every time.
            info = zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0))
            archive.writestr(info, data, compress_type=method)
    return file.getvalue()


def torch_zip(body: bytes) -> bytes:
    return zipped(body, ("data/0", SIX), ("version", b"3\n"))


def legacy(body: bytes, keys: Any = ("0",), stored: bytes = struct.pack("<q", 6) + SIX) -> bytes:
    system = whole({"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
    return MAGIC + whole(1001) + system + body + whole(list(keys)) + stored


def array(
    dtype: Any = "f4", shape: Any = (2,), raw: Any = b"C\x08" + bytes(8), **state: Any
) -> bytes:
    fresh = call("numpy.core.multiarray\n_reconstruct", b"cnumpy\nndarray\n", (0,), b"C\x01b")
    kind = call("numpy\ndtype", dtype, False, True)
    fields = (3, state.get("order", "<"), state.get("sub"), None, None, -1, -1, 0)
    return fresh + pickled((1, shape, kind + pickled(fields) + b"b", False, raw)) + b"b"


def invoked(module: str, name: str, argument: str, protocol: int) -> bytes:
    """A pickle that calls a function, as protocol 0 to 5 would spell it."""
    found = f"c{module}\n{name}\n".encode()
    if protocol == 0:
        return found + f"(V{argument}\ntR.".encode()
    if protocol == 1:
        return found + b"(" + text(argument) + b"tR."
    if protocol < 4:
        return b"\x80" + bytes([protocol]) + found + text(argument) + b"\x85R."
    short = [b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name, argument)]
    body = short[0] + short[1] + b"\x93" + short[2] + b"\x85R."
    return b"\x80" + bytes([protocol]) + b"\x95" + struct.pack("<Q", len(body)) + body


def _calls() -> Iterator[tuple[str, bytes]]:
    for module, name, argument in CALLS:
        for protocol in range(6):
            body = invoked(module, name, argument, protocol)
            label = f"{module}.{name}-{protocol}"
            yield f"raw-{label}.pdparams", body
            # In turn, so that each call is dressed in each way by one protocol or another.
            yield [(f"zip-{label}.pt", torch_zip(body)), (f"old-{label}.pth", legacy(body))][
                protocol % 2
            ]


def _ways() -> Iterator[tuple[str, bytes]]:
    found, argument = b"cposix\nsystem\n", text("exit 0")
    bodies = {
        "inst": b"(" + argument + b"iposix\nsystem\n",
        "obj": b"(" + found + argument + b"o",
        "newobj": found + argument + b"\x85\x81",
        "newobj-ex": found + argument + b"\x85}\x92",
        "build": found + b"}b",
        "build-namespace": b"cargparse\nNamespace\n)\x81" + pickled({"a": call("os\nsystem", "x")}) + b"b",
        "build-class": b"cargparse\nNamespace\n}(" + text("x") + b"K\x01ub",
        "namespace-items": b"cargparse\nNamespace\n)\x81K\x01K\x02s",
        "build-tuple": b"cargparse\nNamespace\n)\x81N}\x86b",
        "build-names": b"cargparse\nNamespace\n)\x81}K\x01K\x02sb",
        "build-dict": b"}}" + text("__class__") + b"K\x01sb",
        "ext1": b"\x82\x01", "ext2": b"\x83\x01\x00", "ext4": b"\x84\x01\x00\x00\x00",
        "in-dict": pickled({"model": {"weight": GOOD, "x": call("os\nsystem", "exit 0")}}),
        "in-list": pickled([1, [2, [call("os\nsystem", "exit 0")]]]),
        "hook": call("torch._utils\n_rebuild_tensor_v2", storage(6), 0, (6,), (1,), False, call("os\nsystem", "x")),
        "persid": b"Pos.system\n", "int": b"I1\n", "long": b"L1L\n", "float": b"F1.0\n",
        "string": b"S'x'\n", "unicode": b"Vx\n", "put": b"Np0\n", "dup": b"N2",
        "pop": b"NN0", "buffer": b"\x97", "readonly": b"\x98", "set": b"\x8f", "frozenset": b"(\x91",
        "second-proto": b"\x80\x02N", "left-over": b"NN", "mark": b"((N", "name": b"cnumpy\nndarray\n",
        "storage-alone": storage(6), "called-tensor": GOOD + b")R", "no-tuple": b"ccollections\nOrderedDict\n]R",
        "called-text": text("os.system") + b")R", "stack-global": text("os") + text("system") + b"\x93)R",
        "stack-global-int": b"K\x01K\x02\x93", "dotted": b"cbuiltins\ntuple.__class__\n)R",
    }  # fmt: skip
    for label, body in bodies.items():
        yield f"way-{label}.pt", torch_zip(b"\x80\x04" + body + b".")
        yield f"way-{label}.pdparams", b"\x80\x04" + body + b"."


def _tensors() -> Iterator[tuple[str, bytes]]:
    huge, terabyte = 2**62, 2**40
    bodies = {
        "offset": tensor((6,), (1,), 1), "offset-negative": tensor((6,), (1,), -1),
        "offset-huge": tensor((1,), (1,), huge), "size-negative": tensor((-1,), (1,)),
        "size-overflow": tensor((2**32, 2**32), (1, 1)), "size-huge": tensor((huge,), (0,)),
        "stride-negative": tensor((6,), (-1,), 5), "stride-out": tensor((3,), (3,)),
        "stride-overflow": tensor((2,), (huge,)), "stride-zero": tensor((terabyte,), (0,)),
        "stride-zero-2": tensor((1000, 6), (0, 1)), "ranks": tensor((2, 3), (1,)),
        "rank": tensor((1,) * 40, (1,) * 40), "size-bool": tensor((True,), (1,)),
        "size-text": tensor(("6",), (1,)), "size-list": tensor([6], [1]),
        "empty-huge": tensor((0, 2**40, 2**40), (1, 1, 1)), "count-small": tensor((5,), (1,), 0, 5),
        "count-large": tensor((6,), (1,), 0, 7), "count-huge": tensor((6,), (1,), 0, huge),
        "count-negative": tensor((0,), (1,), 0, -1), "count-text": tensor((6,), (1,), 0, "6"),
        "dtype-double": tensor((3,), (1,), 0, 6, kind="DoubleStorage"),
        "dtype-unknown": tensor((6,), (1,), kind="ComplexFloatStorage"),
        "dtype-quantised": tensor((6,), (1,), kind="QInt8Storage"),
        "untyped": call("torch._utils\n_rebuild_tensor_v2", b"ctorch.storage\nUntypedStorage\n", 0, (1,), (1,), False, {}),
        "key-missing": tensor((6,), (1,), key="1"), "key-climbs": tensor((6,), (1,), key="../data.pkl"),
        "key-int": tensor((6,), (1,), key=0), "key-deep": tensor((6,), (1,), key=("0",)),
        "pid-text": text("storage") + b"Q", "pid-short": pickled(("storage", 1)) + b"Q",
        "pid-kind": pickled(("module", b"ctorch\nFloatStorage\n", "0", "cpu", 6)) + b"Q",
        "pid-view": call("torch._utils\n_rebuild_tensor_v2", storage(6, "FloatStorage", "0", ("1", 0, 6)), 0, (6,), (1,), False, {}),
        "metadata": call("torch._utils\n_rebuild_tensor_v2", storage(6), 0, (6,), (1,), False, {}, {"conj": True}),
        "few": call("torch._utils\n_rebuild_tensor_v2", storage(6)), "none": call("torch._utils\n_rebuild_tensor_v2"),
        "parameter": call("torch._utils\n_rebuild_parameter", 1, True, {}),
        "size-of-text": call("torch\nSize", "123"), "ordered-items": call("collections\nOrderedDict", [(1, 2)]),
        "many": pickled({str(i): tensor((400_000,), (1,), 0, 400_000, key="big") for i in range(9)}),
    }  # fmt: skip
    for label, body in bodies.items():
        stored = (("data/0", SIX), ("data/big", bytes(1_600_000)))[: 2 if label == "many" else 1]
        yield f"tensor-{label}.pt", zipped(whole({"w": body}), *stored)
    for label in ("offset", "size-overflow", "stride-zero", "count-large", "count-huge", "few"):
        yield f"tensor-{label}.pth", legacy(whole({"w": bodies[label]}))


def _arrays() -> Iterator[tuple[str, bytes]]:
    fresh = call("numpy.core.multiarray\n_reconstruct", b"cnumpy\nndarray\n", (0,), b"C\x01b")
    kind = call("numpy\ndtype", "f4", False, True)
    bodies = {
        **{f"dtype-{d}": array(d) for d in ("O8", "V8", "S8", "U2", "M8", "c8", "f16", "O", "i4,O")},
        "dtype-int": array(7), "subarray": array(sub=("f4", (2,))), "order": array(order="x"),
        "short": array(shape=(3,)), "long": array(shape=(1,)), "negative": array(shape=(-2,)),
        "overflow": array(shape=(2**33, 2**33)), "absurd": array(shape=(2**62,)),
        "empty-huge": array(shape=(0, 2**40, 2**40), raw=b"C\x00"), "rank": array(shape=(1,) * 40),
        "list": array(raw=[1, 2]), "text": array(raw="x" * 8), "shape-list": array(shape=[2]),
        "unfilled": fresh, "twice": array() + pickled((1, (2,), kind, False, b"C\x08" + bytes(8))) + b"b",
        "subclass": array().replace(b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", 1),
        "kind-left": kind, "scalar": call("numpy.core.multiarray\nscalar", kind, b"C\x03abc"),
        "scalar-object": call("numpy.core.multiarray\nscalar", call("numpy\ndtype", "O8", False, True), b"C\x08" + bytes(8)),
        "buffer": call("numpy.core.numeric\n_frombuffer", b"C\x08" + bytes(8), kind, (3,), "C"),
        "buffer-order": call("numpy.core.numeric\n_frombuffer", b"C\x08" + bytes(8), kind, (2,), "K"),
        "encode": call("_codecs\nencode", "x", "rot13"), "encode-wide": call("_codecs\nencode", "\u0394", "latin1"),
        "latin": array(shape=(70_000,), raw=call("_codecs\nencode", "\u0394" * 280_000, "latin1")),
        "bool": array("b1", (8,), b"C\x08" + b"\x02" * 8), "bytes": b"B" + struct.pack("<I", 300) + bytes(300),
        "slices": pickled({"UnpackBigParamInfor@@": {}}),
        "many": b"B" + struct.pack("<I", 1 << 20) + bytes(1 << 20) + b"q\x01" + pickled([array("f4", (1 << 18,), b"h\x01")] * 9) + b"\x86",
    }  # fmt: skip
    for label, body in bodies.items():
        dressed = pickled(body if label == "slices" else {"w": body})
        yield f"array-{label}.pdparams", b"\x80\x03" + dressed + b"."
    tops = {"list": [1], "number": 1, "tuple": ("w", 1), "text": "x" * 70_000}
    for label, top in tops.items():
        yield f"top-{label}.pdparams", whole(top)


def _bombs() -> Iterator[tuple[str, bytes]]:
    n = 120_000
    laugh = b"(]" + b"".join(
        b"q" + bytes([i]) + b"](" + (b"h" + bytes([i])) * 2 + b"e" for i in range(60)
    )
    wide = b"(]" + b"".join(
        b"q" + bytes([i]) + b"](" + (b"h" + bytes([i])) * 90 + b"e" for i in range(40)
    )
    collide = b"}(" + b"".join(pickled((2**61 - 1) * i) + b"N" for i in range(1, 20_000)) + b"u"
    bodies = {
        "memo": b"Nr\xff\xff\xff\xff)R", "memo-get": b"j\xff\xff\xff\xff", "memo-empty": b"h\x00",
        "binbytes8": b"\x8e" + b"\xff" * 8, "bytearray8": b"\x96" + struct.pack("<Q", 2**40),
        "unicode8": b"\x8d" + struct.pack("<Q", 2**62), "binbytes": b"B\xff\xff\xff\xff",
        "frame": b"\x95" + b"\xff" * 8 + b"N", "long4": b"\x8b\xff\xff\xff\x7f" + b"1" * 99,
        "long1": b"\x8a\xff" + b"\x01" * 255, "long4-negative": b"\x8b\xff\xff\xff\xff",
        "lists": b"]" * n + b"a" * (n - 1), "tuples": b")" + b"\x85" * n, "unclosed": b"(" * n,
        "tuple-key": b"})" + b"\x85" * n + b"Ns", "list-key": b"}]Ns", "float-key": b"}G" + bytes(8) + b"Ns",
        "none-key": b"}NNs", "bool-key": b"}\x88Ns", "dicts": b"}" + b"K\x01}" * 80_000 + b"s" * 80_000,
        "laugh": laugh + b"t", "wide": wide + b"t", "deep-shared": b"(" + b")" + b"\x85" * 40 + b"q\x00" + b"h\x00" + b"\x85" * 40 + b"t",
        "self": b"]q\x00h\x00a", "self-dict": b"}q\x00K\x01h\x00s",
        "self-tuple": b"]q\x00h\x00\x85a", "steps": b"N\x85" * 150_000, "memoize": b"}\x94" * 120_000,
        "collide": collide, "collide-64": b"}(" + b"".join(pickled(i << 40) + b"N" for i in range(1, 30_000)) + b"u)R",
        "odd": b"}(K\x01u", "append": b"}Na", "setitem": b"]NNs", "underflow": b"\x87", "underflow-reduce": b"R",
        "appends": b"e", "tuple-alone": b"t", "small-dicts": b"}NNs".replace(b"N", b"K\x01") * 40_000,
        "tensors": b"(" + GOOD * 6000 + b"t", "names": (text("\u00e9" * 30_000) + b"\x94") * 99,
        "emoji": (text("x" * 60_000 + "\U0001f600") + b"\x94") * 70, "surrogate": b"X\x03\x00\x00\x00\xed\xa0\x80",
        "bad-utf8": b"X\x01\x00\x00\x00\xff", "floats": b"G" + bytes(7), "no-stop": b"N" * 9, "no-newline": b"c" + b"x" * 900,
    }  # fmt: skip
    for label, body in bodies.items():
        stop = b"" if label in ("floats", "no-stop", "no-newline") else b"."
        yield f"bomb-{label}.pdparams", b"\x80\x04" + body + stop
        yield f"bomb-{label}.pt", torch_zip(b"\x80\x04" + body + stop)
    yield (
        "bomb-data.pkl.pt",
        torch_zip(
            whole(
                {
                    "w": array(
                        "u1", (17 << 20,), b"B" + struct.pack("<I", 17 << 20) + bytes(17 << 20)
                    )
                }
            )
        ),
    )


def _central(data: bytes, at: int, value: bytes, entry: int = 0) -> bytes:
    """Overwrite bytes of an entry in the central directory."""
    start = -1
    for _ in range(entry + 1):
        start = data.index(b"PK\x01\x02", start + 1)
    return data[: start + at] + value + data[start + at + len(value) :]


def _nested() -> bytes:
    """A sound zip file but for one entry that lies inside another."""
    plain = zipped(whole({"w": GOOD}), ("data/0", SIX))
    local = plain.index(SIX) - 30 - len("archive/data/0")
    inner = plain[local : local + 30 + len("archive/data/0") + 24]
    outer = zipped(whole({"w": GOOD}), ("x", inner), ("data/0", SIX))
    return _central(outer, 42, struct.pack("<I", outer.index(inner)), 3)


def _zips() -> Iterator[tuple[str, bytes]]:
    good = torch_zip(whole({"w": GOOD}))
    end, ones = len(good) - 22, b"\xff" * 4
    yield "zip-deflated.pt", zipped(whole({"w": GOOD}), ("data/0", SIX), method=8)
    yield "zip-bomb.pt", zipped(whole({"w": GOOD}), ("data/0", bytes(50 << 20)), method=8)
    yield "zip-crc.pt", good.replace(SIX, SIX[:-1] + b"\x00")
    yield "zip-crc-pickle.pt", good.replace(b"storage", b"storagE", 1)
    yield "zip-no-pickle.pt", zipped(b"").replace(b"data.pkl", b"data.pkL")
    yield "zip-big-endian.pt", zipped(whole({}), ("x", b"")).replace(b"little", b"bigbig")
    yield "zip-climbs.pt", zipped(whole({"w": GOOD}), ("data/0", SIX), ("../x", b""))
    yield "zip-script.pt", zipped(whole({"w": GOOD}), ("data/0", SIX), ("constants.pkl", b""))
    yield (
        "zip-duplicate.pt",
        zipped(whole({"w": GOOD}), ("data/0", SIX), ("data/1", SIX)).replace(b"data/1", b"data/0"),
    )
    for label, at, value in (
        ("encrypted", 8, b"\x01"), ("method", 10, b"\x0c"), ("crc", 16, ones), ("size", 20, b"\x01"),
        ("sizes", 20, struct.pack("<2I", 2**31, 2**31)), ("zip64", 20, ones * 2), ("name", 28, b"\x01"),
        ("name-long", 28, b"\xff\xff"), ("extra", 30, b"\xff\xff"), ("comment", 32, b"\x09"),
        ("disk", 34, b"\x01"), ("offset", 42, b"\x01"), ("offset-far", 42, b"\xff\xff\xff\x7f"), ("text", 46, b"\xff"),
    ):  # fmt: skip
        for entry in range(3):
            yield f"zip-central-{label}-{entry}.pt", _central(good, at, value, entry)
    shared = _central(good, 42, struct.pack("<I", 0), 1)
    yield "zip-overlap.pt", shared
    for label, at, value in (
        ("count", 8, b"\xff\xff\xff\xff"), ("count-one", 10, b"\x01"), ("size", 12, ones),
        ("start", 16, ones), ("start-one", 16, b"\x01"), ("comment", 20, b"\x01"), ("disk", 4, b"\x01"),
    ):  # fmt: skip
        yield f"zip-end-{label}.pt", good[: end + at] + value + good[end + at + len(value) :]
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, 2**60, 1)
    yield "zip-locator.pt", good[:end] + locator + good[end:]
    record = b"PK\x06\x06" + struct.pack("<Q2H2I4Q", 44, 45, 45, 0, 0, 2**40, 2**40, 2**60, 0)
    found = b"PK\x06\x07" + struct.pack("<IQI", 0, end, 1)
    yield "zip-record.pt", good[:end] + record + found + good[end:]
    count, size, start = struct.unpack_from("<H2I", good, end + 10)
    right = b"PK\x06\x06" + struct.pack("<Q2H2I4Q", 44, 45, 45, 0, 0, count, count, size, start)
    yield "zip-record-loose.pt", good[:end] + right + b"loose" + found + good[end:]
    yield "zip-end-loose.pt", good[:end] + b"loose" + good[end:]
    yield "zip-local-name.pt", good.replace(b"archive/version", b"archive/Version", 1)
    yield "zip-nested.pt", _nested()
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), whole({"w": 1}))
        for i in range(60_000):
            archive.writestr(zipfile.ZipInfo(f"archive/data/{i}"), b"")
    yield "zip-many.pt", many.getvalue()
    for cut in (1, 4, 10, 21, 22, 23, 60, 200, 400, len(good) // 2, len(good) - 70):
        yield f"zip-cut-{cut}.pt", good[:-cut]
    # The pickle and the storage are protected by a CRC-32: any flip must be found.
    body, stored = good.index(b"\x80\x02"), good.index(SIX)
    guarded = [*range(body, body + len(whole({"w": GOOD}))), *range(stored, stored + 24)]
    for at in random.Random(1).sample(guarded, 40):
        yield f"zip-flip-{at}.pt", good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :]


def _legacies() -> Iterator[tuple[str, bytes]]:
    body = whole({"w": GOOD})
    good = legacy(body)
    yield "old-version.pt", good.replace(whole(1001), whole(1002), 1)
    yield "old-endian.pt", good.replace(b"little_endian\x88", b"little_endian\x89")
    yield "old-keys.pt", legacy(body, ("1",))
    yield "old-keys-twice.pt", legacy(body, ("0", "0"))
    yield "old-keys-none.pt", legacy(body, ())
    yield "old-keys-nothing.pt", legacy(body, (), b"")
    yield "old-count.pt", legacy(body, ("0",), struct.pack("<q", 7) + SIX + bytes(4))
    yield "old-count-huge.pt", legacy(body, ("0",), struct.pack("<q", 2**60) + SIX)
    yield "old-count-negative.pt", legacy(body, ("0",), struct.pack("<q", -1) + SIX)
    yield "old-more.pt", good + b"\x00"
    yield "old-two-ways.pt", legacy(whole([GOOD, tensor((1,), (1,), 0, 5)]))
    yield "old-magic.pt", MAGIC
    yield "old-steps.pt", MAGIC + whole(b"N" * 200_000) * 5
    for cut in range(1, len(good), 17):
        yield f"old-cut-{cut}.pt", good[:-cut]


def _safe(header: Any, size: int = 24, claimed: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if claimed is None else claimed) + raw + bytes(size)


def _safetensors() -> Iterator[tuple[str, bytes]]:
    def one(**change: Any) -> dict[str, Any]:
        return {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24], **change}}

    entry = json.dumps(one()["w"]).encode()
    two = {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}
    headers: dict[str, Any] = {
        "dtype": one(dtype="F8_E4M3"), "dtype-list": one(dtype=["F32"]), "shape": one(shape=[7]),
        "shape-small": one(shape=[5]), "padded": b'{"w":%b}' % entry + b" " * (5 << 20),
        "negative": one(shape=[-2, -3]), "overflow": one(shape=[2**32, 2**32]), "shape-float": one(shape=[6.0]),
        "shape-bool": one(shape=[True, 6]), "offsets": one(data_offsets=[0, 28], shape=[7]), "backwards": one(data_offsets=[24, 0]),
        "outside": one(data_offsets=[2**60, 2**60 + 24]), "three": one(data_offsets=[0, 12, 24]), "hole": one(data_offsets=[4, 24], shape=[5]),
        "overlap": {**two, "b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]}},
        "tail": two, "extra": one(more=1), "text": {"w": "x"}, "metadata": {"__metadata__": {"a": 1}, **one()},
        "metadata-list": {"__metadata__": [], **one()}, "duplicate": b'{"w":%b,"w":%b}' % (entry, entry), "list": b"[]      ",
        "no-json": b"{nonsense}", "nan": b'{"w": NaN}', "digits": b'{"w": ' + b"9" * 200_000 + b"}",
        "deep": b'{"a":' + b"[" * 150_000 + b"]" * 150_000 + b"}", "deep-dict": b'{"a":' * 90_000 + b"1" + b"}" * 90_000,
        "wide": b'{"a":[' + b"{}," * 1_000_000 + b"0]}", "names": b'{"' + b"x" * (5 << 20) + b'":1}',
        "medium": b'{"a":[' + b"[]," * 90_000 + b"0]}", "not-utf8": b'{"\xff": 1}', "cut": b'{"w": {"dtype": "F32"',
        "empty-huge": one(shape=[0, 2**40, 2**40], data_offsets=[0, 0]), "rank": one(shape=[1] * 40 + [6]),
        "rank-more": one(shape=[1] * 90_000 + [6]),
    }  # fmt: skip
    for label, header in headers.items():
        yield f"safe-{label}.safetensors", _safe(header)
    for claimed in (0, 1, 2**20, 99 << 20, 2**30, 2**40, 2**63, 2**64 - 1):
        yield f"safe-claims-{claimed}.safetensors", _safe(one(), claimed=claimed)
    for cut in (1, 8, 24, 25, 60):
        yield f"safe-cut-{cut}.safetensors", _safe(one())[:-cut]
    yield "safe-bool.safetensors", _safe(one(dtype="BOOL", shape=[24]), 0) + b"\x02" * 24
    yield "safe-disguised.pt", _safe(one(shape=[7]))


def _others() -> Iterator[tuple[str, bytes]]:
    good = b"\x80\x02" + pickled({"w": array(), "b": array()}) + b"."
    for cut in range(1, len(good), 19):
        yield f"paddle-cut-{cut}.pdparams", good[:-cut]
    yield "paddle-more.pdparams", good + b"."
    yield "paddle-twice.pdparams", good + good
    rng = random.Random(2)
    for size in (1, 2, 7, 8, 9, 100, 5000):
        yield f"random-{size}.pt", bytes([1]) + rng.randbytes(size)
    for protocol in (0, 1, 6, 128, 255):
        yield f"protocol-{protocol}.pdparams", b"\x80" + bytes([protocol]) + b"N."
    yield "empty.pt", b""
    yield "text.pt", b"hello, this is no checkpoint\n"
    yield "gzip.pt", b"\x1f\x8b\x08" + bytes(40)
    yield "picture.pt", b"\x89PNG\r\n\x1a\n" + bytes(40)
    yield "page.pt", b"<!DOCTYPE html><html><body>404</body></html>"
    yield "pointer.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    yield "numpy.npy", b"\x93NUMPY\x01\x00" + bytes(60)
    yield "zip-magic.pt", b"PK\x03\x04"
    yield "pickle-magic.pt", b"\x80"


def hostile_files() -> Iterator[tuple[str, bytes]]:
    """All of them: a name and the content."""
    for family in (
        _calls,
        _ways,
        _tensors,
        _arrays,
        _bombs,
        _zips,
        _legacies,
        _safetensors,
        _others,
    ):
        yield from family()


def good_files() -> Iterator[tuple[str, bytes]]:
    """The same writers without malice; that these are read shows that the writers are right."""
    yield "good.pt", torch_zip(whole({"w": GOOD}))
    yield "good.pth", legacy(whole({"w": GOOD}))
    yield "good.pdparams", whole({"w": array(raw=call("_codecs\nencode", "\0" * 8, "latin1"))})
    yield (
        "good.safetensors",
        _safe({"w": {"dtype": "BF16", "shape": [12], "data_offsets": [0, 24]}}),
    )
