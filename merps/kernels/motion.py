"""Robust repair of the steps of one slow signal."""

from merps.kernels.compiler import kernel

#: Tukey's biweight gives no weight beyond this many standard deviations, and a
#: standard deviation is this many median absolute deviations.
_TUNE = 4.685
_DEVIATIONS = 1.4826
#: Most rounds of weighting, and the relative change of the center that ends them.
_ROUNDS = 50
_TOLERANCE = 2.0**-26
_INFINITY = float("inf")


@kernel("f8[::1], f8[::1], f8[::1], f8[::1]")
def weigh_steps(x_t, near_t, scratch_t, out_t):
    """Write the running sum of the robustly weighted, centered steps of a signal."""
    n_steps = x_t.size - 1
    largest = 0.0
    for t in range(1, n_steps + 1):
        out_t[t] = x_t[t] - x_t[t - 1]
        largest = max(largest, abs(out_t[t]))
    center = _INFINITY
    weight_center = weight_scale = 0.0  # at first all weigh 1
    low = high = drift = 0.0  # two middle deviations; way of the center since a look
    n_near = n_below = 0
    floor, ceiling = _INFINITY, -_INFINITY
    for _ in range(_ROUNDS):
        for t in range(1, n_steps + 1):  # vectorizes, which sums in order do not
            ratio = (out_t[t] - weight_center) * weight_scale
            scratch_t[t] = max(1 - ratio * ratio, 0.0) ** 2
        total_0 = total_1 = total_2 = total_3 = 0.0
        weight_0 = weight_1 = weight_2 = weight_3 = 0.0
        for t in range(1, n_steps - 2, 4):
            total_0 += scratch_t[t] * out_t[t]
            weight_0 += scratch_t[t]
            total_1 += scratch_t[t + 1] * out_t[t + 1]
            weight_1 += scratch_t[t + 1]
            total_2 += scratch_t[t + 2] * out_t[t + 2]
            weight_2 += scratch_t[t + 2]
            total_3 += scratch_t[t + 3] * out_t[t + 3]
            weight_3 += scratch_t[t + 3]
        for t in range(n_steps - n_steps % 4 + 1, n_steps + 1):
            total_0 += scratch_t[t] * out_t[t]
            weight_0 += scratch_t[t]
        total_0 += total_1 + total_2 + total_3
        weight_0 += weight_1 + weight_2 + weight_3
        before, center = center, total_0 / weight_0
        # No deviation changes by more than the center moves, so the middle ones stay
        # as near to the last ones, and only steps in between have to be put in order.
        moved = abs(center - before) + 1e-14 * largest
        drift += moved
        is_far = floor + drift > low - moved or ceiling - drift < high + moved
        if is_far or 8 * n_near > n_steps:
            floor, ceiling, drift = low - 2 * moved, high + 2 * moved, 0.0
            n_below = n_near = 0
            for t in range(1, n_steps + 1):
                deviation = abs(out_t[t] - center)
                n_below += deviation < floor
                near_t[n_near] = out_t[t]
                n_near += (deviation >= floor) & (deviation <= ceiling)
        for i in range(n_near):
            scratch_t[i] = abs(near_t[i] - center)
        # Hoare's quickselect.
        middle = n_steps // 2 - n_below
        first, last = 0, n_near - 1
        while first < last:
            pivot = scratch_t[(first + last) // 2]
            i, j = first, last
            while i <= j:
                while scratch_t[i] < pivot:
                    i += 1
                while scratch_t[j] > pivot:
                    j -= 1
                if i <= j:
                    scratch_t[i], scratch_t[j] = scratch_t[j], scratch_t[i]
                    i += 1
                    j -= 1
            if middle <= j:
                last = j
            elif middle >= i:
                first = i
            else:
                break
        low = high = scratch_t[middle]
        if n_steps % 2 == 0:
            low = scratch_t[0]
            for i in range(1, middle):
                low = max(low, scratch_t[i])
        reach = _TUNE * _DEVIATIONS * (low + high) / 2
        if reach == 0:
            break
        weight_center, weight_scale = center, 1 / reach
        if abs(center - before) < _TOLERANCE * max(abs(center), abs(before)):
            break
    out_t[0] = 0
    for t in range(1, n_steps + 1):
        ratio = (out_t[t] - weight_center) * weight_scale
        weight = max(1 - ratio * ratio, 0.0) ** 2
        out_t[t] = out_t[t - 1] + weight * (out_t[t] - center)
