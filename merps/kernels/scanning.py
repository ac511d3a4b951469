"""Extremes, gaps and clipping of many channels in one look at time-major memory."""

from merps.kernels.compiler import kernel

_INFINITY = float("inf")


@kernel(
    "f8[:, ::1], i8, f8[:, ::1], f8[:, ::1], i8[:, ::1]",
    "f4[:, ::1], i8, f8[:, ::1], f8[:, ::1], i8[:, ::1]",
)
def scan_windows(x_tc, length, out_low_wc, out_high_wc, out_missing_wc):
    """Write lowest, highest and number of missing samples of windows in a row."""
    n_times, n_channels = x_tc.shape
    for w in range(out_low_wc.shape[0]):
        for c in range(n_channels):
            out_low_wc[w, c] = _INFINITY
            out_high_wc[w, c] = -_INFINITY
            out_missing_wc[w, c] = 0
        stop = min((w + 1) * length, n_times)
        for t in range(w * length, stop, 2):  # with more at a time, it's not vectorized
            u = min(t + 1, stop - 1)
            for c in range(n_channels):
                early, late = x_tc[t, c], x_tc[u, c]
                low, high = out_low_wc[w, c], out_high_wc[w, c]
                low = early if early < low else low  # where NaN, no comparison holds
                high = early if early > high else high
                out_low_wc[w, c] = late if late < low else low
                out_high_wc[w, c] = late if late > high else high
            for s in range(t, u + 1):
                for c in range(n_channels):
                    out_missing_wc[w, c] += x_tc[s, c] != x_tc[s, c]


@kernel("f8[:, ::1], f4[:, ::1]", "f4[:, ::1], f4[:, ::1]")
def subtract_first(x_tc, out_tc):
    """Write in float32 how each row differs from the first one."""
    n_times, n_channels = x_tc.shape
    for t in range(n_times):
        for c in range(n_channels):
            out_tc[t, c] = x_tc[t, c] - x_tc[0, c]


@kernel(
    "f8[:, ::1], i8, f8[:, ::1], f8[:, ::1], i8, f8[::1], f8[::1], i8[::1]",
    "f4[:, ::1], i8, f8[:, ::1], f8[:, ::1], i8, f8[::1], f8[::1], i8[::1]",
)
def count_clipped(x_tc, length, low_wc, high_wc, run, low_c, high_c, out_count_c):
    """Count the samples in runs at a channel's extremes; few windows hold them."""
    n_times, n_channels = x_tc.shape
    for c in range(n_channels):
        low, high = low_c[c], high_c[c]
        last = low
        n_equal = count = 0
        for w in range(low_wc.shape[0]):
            if low_wc[w, c] != low and high_wc[w, c] != high:
                n_equal = 0
                continue
            for t in range(w * length, min((w + 1) * length, n_times)):
                value = x_tc[t, c]
                if value != low and value != high:
                    n_equal = 0
                    continue
                n_equal = n_equal + 1 if value == last else 1
                last = value
                if n_equal == run:
                    count += run
                elif n_equal > run:
                    count += 1
        out_count_c[c] = count
