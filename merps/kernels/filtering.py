"""Recursive and linear-phase filters along the rows of time-major memory."""

from merps.kernels.compiler import kernel


@kernel(
    "f8[:, ::1], i8, i8, i8, i8, f8[:, ::1], f8[:, ::1], f8[:, :, ::1]",
    "f4[:, ::1], i8, i8, i8, i8, f4[:, ::1], f4[:, ::1], f4[:, :, ::1]",
)
def filter_rows(
    sections_s6, first, step, count, group, out_early_sc, out_late_sc, out_tgc
):
    """Run sections over `count` rows of a group from `first` on, in place."""
    n_sections, n_channels = sections_s6.shape[0], out_tgc.shape[2]
    for n in range(0, count, 2):
        # Two rows at a time: fewer passes over the delays, which are two arrays, or
        # the loop is not vectorized.
        t = first + n * step
        after = t + step
        for s in range(n_sections):
            b0, b1, b2 = sections_s6[s, 0], sections_s6[s, 1], sections_s6[s, 2]
            a1, a2 = sections_s6[s, 4], sections_s6[s, 5]
            if n + 1 < count:
                for c in range(n_channels):
                    x = out_tgc[t, group, c]
                    y = b0 * x + out_early_sc[s, c]
                    early = b1 * x - a1 * y + out_late_sc[s, c]
                    late = b2 * x - a2 * y
                    out_tgc[t, group, c] = y
                    x = out_tgc[after, group, c]
                    y = b0 * x + early
                    out_early_sc[s, c] = b1 * x - a1 * y + late
                    out_late_sc[s, c] = b2 * x - a2 * y
                    out_tgc[after, group, c] = y
            else:
                for c in range(n_channels):
                    x = out_tgc[t, group, c]
                    y = b0 * x + out_early_sc[s, c]
                    out_early_sc[s, c] = b1 * x - a1 * y + out_late_sc[s, c]
                    out_late_sc[s, c] = b2 * x - a2 * y
                    out_tgc[t, group, c] = y


@kernel(
    "f8[:, ::1], i8, f8[:, ::1], i8, i8, i8, i8, f8[:, ::1]",
    "f4[:, ::1], i8, f8[:, ::1], i8, i8, i8, i8, f8[:, ::1]",
)
def resample_rows(x_tc, origin, taps_pk, delay, up, down, first, out_tc):
    """Write the rows from output `first` on; `x_tc` begins at input row `origin`."""
    # On the fine grid output n lies at n * down, and input row r at r * up.
    n_taps, n_channels = taps_pk.shape[1], out_tc.shape[1]
    n_quads = n_taps // 4 * 4
    for n in range(out_tc.shape[0]):
        fine = (first + n) * down - delay
        row = -((-fine) // up)
        phase = row * up - fine
        row -= origin
        for c in range(n_channels):
            out_tc[n, c] = 0.0
        for k in range(0, n_quads, 4):  # four at a time: fewer passes over the sums
            h0, h1 = taps_pk[phase, k], taps_pk[phase, k + 1]
            h2, h3 = taps_pk[phase, k + 2], taps_pk[phase, k + 3]
            r = row + k
            for c in range(n_channels):
                near = h0 * x_tc[r, c] + h1 * x_tc[r + 1, c]
                far = h2 * x_tc[r + 2, c] + h3 * x_tc[r + 3, c]
                out_tc[n, c] += near + far
        for k in range(n_quads, n_taps):
            h0 = taps_pk[phase, k]
            for c in range(n_channels):
                out_tc[n, c] += h0 * x_tc[row + k, c]
