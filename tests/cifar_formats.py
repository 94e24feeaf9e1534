"""Writes the bytes of CIFAR's own files."""

import pickle

import numpy as np


def planes(images):
    """The pixels as the archives have them: all red ones first, then green, then blue."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)


def binary(images, labels, *coarse):
    return np.column_stack([*coarse, labels, planes(images)]).astype(np.uint8).tobytes()


def python3_pickle(entries, protocol=2):
    """Bytes are written by way of `_codecs.encode`; the array by NumPy's module of today."""
    return pickle.dumps(entries, protocol)


def python2_pickle(entries):
    """Writes opcodes as cPickle 2 of 2009 did: byte strings, and NumPy's module of that time."""

    def text(value):
        value = value if isinstance(value, bytes) else value.encode()
        return b"U" + bytes([len(value)]) + value  # SHORT_BINSTRING

    def number(value):
        return b"M" + value.to_bytes(2, "little")  # BININT2

    def array(value):
        dtype = b"cnumpy\ndtype\n" + text("u1") + b"K\0K\1\x87R"
        dtype += b"(K\3" + text("|") + b"NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\0tb"
        data = value.tobytes()
        return (
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + text("b") + b"\x87R"
            b"(K\1" + number(len(value)) + number(value.shape[1]) + b"\x86" + dtype + b"\x89"
            b"T" + len(data).to_bytes(4, "little") + data + b"tb"  # BINSTRING
        )

    def item(value):
        if isinstance(value, np.ndarray):
            return array(value)
        if isinstance(value, list):
            return b"](" + b"".join(item(v) for v in value) + b"e"
        return number(value) if isinstance(value, int) else text(value)

    items = (text(key) + item(value) for key, value in entries.items())
    return b"\x80\2}(" + b"".join(items) + b"u."
