"""Sums of second moments over windows that share their pieces."""

import numpy as np

from merps.kernels.compiler import kernel


@kernel(
    "f8[:, :, ::1], i8[::1], i8[::1], f8[:, :, ::1], f8[:, :, ::1], f8[:, ::1]",
    "f4[:, :, ::1], i8[::1], i8[::1], f4[:, :, ::1], f4[:, :, ::1], f8[:, ::1]",
)
def add_scatter(scatter_bcc, first, stop, shift_wpc, out_scatter_wcc, out_norm_wc):
    """Add up the pieces of each window and the spread of their means; sum squares."""
    n_windows, n_channels = out_norm_wc.shape
    for w in range(n_windows):
        for j in range(n_channels):
            out_norm_wc[w, j] = 0.0
        for i in range(n_channels):
            for j in range(n_channels):
                out_scatter_wcc[w, i, j] = scatter_bcc[first[w], i, j]
            for b in range(first[w] + 1, stop[w]):
                for j in range(n_channels):
                    out_scatter_wcc[w, i, j] += scatter_bcc[b, i, j]
            for p in range(stop[w] - first[w]):
                shift = shift_wpc[w, p, i]
                for j in range(n_channels):
                    out_scatter_wcc[w, i, j] += shift * shift_wpc[w, p, j]
            for j in range(n_channels):
                value = np.float64(out_scatter_wcc[w, i, j])
                out_norm_wc[w, j] += value * value
