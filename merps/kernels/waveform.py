"""Averages and sums of squares over short stretches of time-major memory."""

from merps.kernels.compiler import kernel


@kernel("f4[:, ::1], i8, f8[:, ::1]", "f8[:, ::1], i8, f8[:, ::1]")
def average_rows(x_tc, factor, out_tc):
    """Write the mean of each `factor` rows that follow each other."""
    n_channels = out_tc.shape[1]
    for t in range(out_tc.shape[0]):
        for c in range(n_channels):
            out_tc[t, c] = 0
        for s in range(t * factor, (t + 1) * factor):
            for c in range(n_channels):
                out_tc[t, c] += x_tc[s, c]
        for c in range(n_channels):
            out_tc[t, c] /= factor


@kernel(
    "f4[:, ::1], f8[:, ::1], i8, f8[:, :, ::1]",
    "f8[:, ::1], f8[:, ::1], i8, f8[:, :, ::1]",
)
def sum_steps(x_tc, level_bc, length, out_bsc):
    """Write sums and sums of squares of values, steps and bends inside each block."""
    n_channels = x_tc.shape[1]
    for b in range(out_bsc.shape[0]):
        for s in range(6):
            for c in range(n_channels):
                out_bsc[b, s, c] = 0
        stop = (b + 1) * length
        for t in range(b * length, stop):
            for c in range(n_channels):
                value = x_tc[t, c] - level_bc[b, c]
                out_bsc[b, 0, c] += value
                out_bsc[b, 1, c] += value * value
            if t + 1 == stop:
                continue
            for c in range(n_channels):
                value = x_tc[t, c] - level_bc[b, c]  # in float64
                step = x_tc[t + 1, c] - level_bc[b, c] - value
                out_bsc[b, 2, c] += step
                out_bsc[b, 3, c] += step * step
            if t + 2 == stop:
                continue
            for c in range(n_channels):
                middle = x_tc[t + 1, c] - level_bc[b, c]
                around = x_tc[t, c] - level_bc[b, c] + (x_tc[t + 2, c] - level_bc[b, c])
                bend = around - 2 * middle
                out_bsc[b, 4, c] += bend
                out_bsc[b, 5, c] += bend * bend


@kernel(
    "f4[:, ::1], f8[:, ::1], i8[::1], i8, f8[:, :, ::1]",
    "f8[:, ::1], f8[:, ::1], i8[::1], i8, f8[:, :, ::1]",
)
def sum_spans(x_tr, level_wr, start_w, length, out_wsr):
    """Write sums of each span's values, values times place, and squares."""
    n_rows = x_tr.shape[1]
    for w in range(start_w.size):
        first = start_w[w]
        for s in range(3):
            for r in range(n_rows):
                out_wsr[w, s, r] = 0
        for k in range(length):
            t = first + k
            place = k - (length - 1) / 2  # from the middle
            for r in range(n_rows):
                value = x_tr[t, r] - level_wr[w, r]  # in float64
                out_wsr[w, 0, r] += value
                out_wsr[w, 2, r] += value * value
            for r in range(n_rows):
                value = x_tr[t, r] - level_wr[w, r]  # in float64
                out_wsr[w, 1, r] += place * value
