# SPDX-License-Identifier: Apache-2.0
"""The little of librados that ceph.py and takeover.py need, without Debian's Python for it: snapshots' numbers, which are a round of
Ceph's monitors each, and records of an object. Raises OSError."""
import ctypes
import os
import threading
import time


class Rados:
    def __init__(self, conf, pool):
        self.lib = ctypes.CDLL('librados.so.2')
        self.lib.rados_create_read_op.restype = ctypes.c_void_p
        self.cluster, self.io = ctypes.c_void_p(), ctypes.c_void_p()
        self._check(self.lib.rados_create(ctypes.byref(self.cluster), b'admin'))
        self._check(self.lib.rados_conf_read_file(self.cluster, conf.encode()))
        self._check(self.lib.rados_connect(self.cluster))
        self._check(self.lib.rados_ioctx_create(self.cluster, pool.encode(), ctypes.byref(self.io)))

    @staticmethod
    def _check(result):
        if result < 0:
            raise OSError(-result, os.strerror(-result))

    def close(self):
        self.lib.rados_ioctx_destroy(self.io)
        self.lib.rados_shutdown(self.cluster)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def snapshot_number(self):
        """Waits for the monitors to agree on one."""
        self._check(self.lib.rados_ioctx_selfmanaged_snap_create(self.io, ctypes.byref(ctypes.c_uint64())))

    def round_ms(self, count=1):
        """For how long so many wait that ask for a number at one time, just after the monitors have agreed on one: a whole round."""
        self.snapshot_number()
        threads = [threading.Thread(target=self.snapshot_number) for _ in range(count)]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (time.monotonic() - begun) * 1000

    def record(self, name, key):
        """A record's value in the omap of an object; None: there is none."""
        value, key_len, value_len = ctypes.c_char_p(), ctypes.c_size_t(), ctypes.c_size_t()
        found, result, one = ctypes.c_char_p(), ctypes.c_int(), key.encode()
        records, op = ctypes.c_void_p(), ctypes.c_void_p(self.lib.rados_create_read_op())
        keys, lengths = (ctypes.c_char_p * 1)(one), (ctypes.c_size_t * 1)(len(one))
        self.lib.rados_read_op_omap_get_vals_by_keys2(op, keys, ctypes.c_size_t(1), lengths, ctypes.byref(records), ctypes.byref(result))
        try:
            self._check(self.lib.rados_read_op_operate(op, self.io, name.encode(), 0))
            self._check(result.value)
            self._check(self.lib.rados_omap_get_next2(records, ctypes.byref(found), ctypes.byref(value), ctypes.byref(key_len),
                                                      ctypes.byref(value_len)))
            return ctypes.string_at(value, value_len.value).decode() if found else None
        finally:
            self.lib.rados_omap_get_end(records)
            self.lib.rados_release_read_op(op)
