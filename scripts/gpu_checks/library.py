"""The operator's C interface (plugins/c_api/include/natdeploy/op.h) on torch tensors, through ctypes."""

from __future__ import annotations

import ctypes
import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from natdeploy.errors import NatdeployError
from natdeploy.ops.spec import Neighborhood

FILE_NAME = "libnatdeploy_op.so"
ABI_VERSION = 1
DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}


class _Attention(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_uint64),
        ("batch", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("dtype", "height", "width", "heads", "head_dim")),
        *((name, ctypes.c_int32) for name in ("kernel_height", "kernel_width", "dilation_height", "dilation_width")),
        ("has_rpb", ctypes.c_int32),
        ("scale", ctypes.c_float),
        ("reserved", ctypes.c_uint32),
    )


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("batch_stride", "row_stride", "column_stride", "head_stride")),
    )


class LaunchRefused(Exception):
    """The library says why it does not launch, or CUDA does."""


@dataclass(frozen=True)
class Attention:
    """What is computed: shapes, dtype and the operator's attributes; rank 2."""

    dtype: torch.dtype
    batch: int
    height: int
    width: int
    heads: int
    head_dim: int
    neighborhood: Neighborhood
    has_rpb: bool

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Shape of query, key, value and output: ``[B, H, W, heads, head_dim]``."""
        return self.batch, self.height, self.width, self.heads, self.head_dim

    def _struct(self) -> _Attention:
        n = self.neighborhood
        return _Attention(
            size=ctypes.sizeof(_Attention),
            batch=self.batch,
            dtype=DTYPES[self.dtype],
            height=self.height,
            width=self.width,
            heads=self.heads,
            head_dim=self.head_dim,
            kernel_height=n.kernel_size[0],
            kernel_width=n.kernel_size[1],
            dilation_height=n.dilation[0],
            dilation_width=n.dilation[1],
            has_rpb=int(self.has_rpb),
            scale=n.scale,
        )


class OpLibrary:
    """A loaded ``libnatdeploy_op.so``.

    Args:
        path: The library. Loading runs its code, so it must be trusted.

    Raises:
        NatdeployError: If it cannot be loaded, or is not the interface that this file is written for.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        try:
            self._functions = ctypes.CDLL(str(self.path))
            abi = self._functions.natdeploy_op_abi_version()
        except (OSError, AttributeError) as error:
            raise NatdeployError(
                f"'{path}' cannot be loaded as {FILE_NAME}",
                got=str(error),
                next_step="Build it with `cmake -S plugins -B build/plugins && cmake --build build/plugins`",
            ) from error
        if abi != ABI_VERSION:
            raise NatdeployError(f"'{path}' is another version", got=f"interface {abi}", needed=f"{ABI_VERSION}")
        self._declare()

    def _declare(self) -> None:
        pointer, attention, tensor = ctypes.c_void_p, ctypes.POINTER(_Attention), ctypes.POINTER(_Tensor)
        signatures = {
            "tactic_name": (ctypes.c_char_p, [ctypes.c_int32]),
            "reason_against": (ctypes.c_char_p, [ctypes.c_int32, attention, ctypes.c_int32]),
            "preferred_tactic": (ctypes.c_int32, [attention, ctypes.c_int32]),
            "workspace_size": (ctypes.c_size_t, [attention, ctypes.c_int32]),
            "launch_packed": (ctypes.c_char_p, [attention, ctypes.c_int32, *[pointer] * 5]),
            "launch": (
                ctypes.c_char_p,
                [attention, ctypes.c_int32, tensor, tensor, tensor, pointer, tensor, pointer, pointer],
            ),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(self._functions, f"natdeploy_op_{name}")
            function.restype, function.argtypes = result, arguments

    @property
    def kernel_version(self) -> int:
        """Changes whenever a kernel changes."""
        return int(self._functions.natdeploy_op_kernel_version())

    @property
    def digest(self) -> str:
        """First digits of the file's SHA-256."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()[:12]

    def compute_capability(self) -> int:
        """90 for 9.0, of the current device; 0 where there is none."""
        return int(self._functions.natdeploy_op_compute_capability())

    def tactics(self) -> dict[str, int]:
        """Kernel families: their ids by name."""
        found: dict[str, int] = {}
        while name := self._functions.natdeploy_op_tactic_name(len(found)):
            found[name.decode()] = int(self._functions.natdeploy_op_tactic_id(len(found)))
        return found

    def reason_against(self, tactic: int, attention: Attention, compute_capability: int) -> str | None:
        """Say why a tactic cannot compute this on such a GPU; None when it can."""
        reason = self._functions.natdeploy_op_reason_against(
            tactic, ctypes.byref(attention._struct()), compute_capability
        )
        return reason.decode() if reason else None

    def preferred_tactic(self, attention: Attention, compute_capability: int) -> int:
        """Give the id of the tactic that is probably fastest."""
        return int(self._functions.natdeploy_op_preferred_tactic(ctypes.byref(attention._struct()), compute_capability))

    def workspace_size(self, attention: Attention, tactic: int) -> int:
        """Bytes of workspace that a launch needs."""
        return int(self._functions.natdeploy_op_workspace_size(ctypes.byref(attention._struct()), tactic))

    def launch_packed(self, attention: Attention, tactic: int, qkv: Tensor, rpb: Tensor | None, output: Tensor) -> None:
        """Put the packed form on torch's current stream.

        Args:
            attention: What is computed.
            tactic: Which kernel family.
            qkv: ``[B, H, W, 3*heads*head_dim]``, contiguous.
            rpb: float32 ``[heads, 2*k-1, 2*k-1]``, contiguous, or None.
            output: ``[B, H, W, heads*head_dim]``, contiguous; written.

        Raises:
            LaunchRefused: With the library's reason.
        """
        workspace = self._workspace(attention, tactic, qkv)
        reason = self._functions.natdeploy_op_launch_packed(
            ctypes.byref(attention._struct()),
            tactic,
            qkv.data_ptr(),
            rpb.data_ptr() if rpb is not None else None,
            output.data_ptr(),
            workspace.data_ptr() if workspace is not None else None,
            _stream_of(qkv),
        )
        if reason:
            raise LaunchRefused(reason.decode())

    def launch(
        self,
        attention: Attention,
        tactic: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        rpb: Tensor | None,
        output: Tensor,
    ) -> None:
        """Put the split form on torch's current stream; tensors of ``attention.shape`` with any strides but the last.

        Raises:
            LaunchRefused: With the library's reason.
        """
        workspace = self._workspace(attention, tactic, query)
        views = [ctypes.byref(_view(tensor)) for tensor in (query, key, value, output)]
        reason = self._functions.natdeploy_op_launch(
            ctypes.byref(attention._struct()),
            tactic,
            *views[:3],
            rpb.data_ptr() if rpb is not None else None,
            views[3],
            workspace.data_ptr() if workspace is not None else None,
            _stream_of(query),
        )
        if reason:
            raise LaunchRefused(reason.decode())

    def _workspace(self, attention: Attention, tactic: int, beside: Tensor) -> Tensor | None:
        size = self.workspace_size(attention, tactic)
        return torch.empty(size, dtype=torch.uint8, device=beside.device) if size else None


def _view(tensor: Tensor) -> _Tensor:
    batch, row, column, head, last = tensor.stride()
    if last != 1 and tensor.shape[-1] > 1 and tensor.numel() > 0:
        raise ValueError(f"the channels of a head must be contiguous; their stride is {last}")
    return _Tensor(tensor.data_ptr(), batch, row, column, head)


def _stream_of(tensor: Tensor) -> int | None:
    return torch.cuda.current_stream(tensor.device).cuda_stream if tensor.is_cuda else None
