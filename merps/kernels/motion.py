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
#: The first median is looked for near that of a sample, found by so many halvings:
#: one of so many steps counts, and the two may differ by so much.
_HALVINGS = 16
_SAMPLED = 16
_REACH = 0.1


@kernel("f8[::1], f8[:, ::1], f8[::1], f8[::1], f8[:, ::1], f8[::1]")
def weigh_steps(step_t, step_bl, near_t, scratch_t, sums_2l, out_t):
    """Write the running sum of robustly weighted, centered steps."""
    # Both arrays of steps are one memory; the sum of two numbers as an index would keep
    # a loop from being vectorized. The second may be longer.
    n_steps, n_lanes = step_t.size, step_bl.shape[1]
    largest = 0.0
    for t in range(n_steps):
        largest = max(largest, abs(step_t[t]))
    center = _INFINITY
    weight_center = weight_scale = 0.0  # at first all weigh 1
    low = high = drift = 0.0  # two middle deviations; way of the center since a look
    n_near = n_below = 0
    floor, ceiling = _INFINITY, -_INFINITY
    for _ in range(_ROUNDS):
        for i in range(n_lanes):
            sums_2l[0, i] = sums_2l[1, i] = 0.0
        for b in range(step_bl.shape[0]):
            for i in range(min(n_lanes, n_steps - b * n_lanes)):
                step = step_bl[b, i]
                ratio = (step - weight_center) * weight_scale
                weight = max(1 - ratio * ratio, 0.0) ** 2
                sums_2l[0, i] += weight * step
                sums_2l[1, i] += weight
        total = weight = 0.0
        for i in range(n_lanes):
            total += sums_2l[0, i]
            weight += sums_2l[1, i]
        before, center = center, total / weight
        # No deviation changes by more than the center moves, so the middle ones stay
        # as near to the last ones, and only steps in between have to be put in order.
        moved = abs(center - before) + 1e-14 * largest
        drift += moved
        # Unless it is far, all below the floor still lie below the middle ones, and
        # `n_below`, less than half of the steps, still counts them.
        is_far = floor + drift > low - moved or ceiling - drift < high + moved
        if is_far or 8 * n_near > n_steps:
            floor, ceiling, drift = low - 2 * moved, high + 2 * moved, 0.0
            if before == _INFINITY:
                floor, ceiling = 0.0, 2 * largest
                for _ in range(_HALVINGS):
                    bound = (floor + ceiling) / 2
                    n_below = 0
                    for t in range(0, n_steps, _SAMPLED):
                        n_below += 2 * (abs(step_t[t] - center) < bound) - 1
                    if n_below > 0:
                        ceiling = bound
                    else:
                        floor = bound
                floor, ceiling = floor * (1 - _REACH), ceiling * (1 + _REACH)
            for _ in range(2):
                n_below = n_near = 0
                for t in range(n_steps):
                    deviation = abs(step_t[t] - center)
                    n_below += deviation < floor
                    near_t[n_near] = step_t[t]
                    n_near += (deviation >= floor) & (deviation <= ceiling)
                if 2 * n_below < n_steps < 2 * (n_below + n_near):
                    break
                floor, ceiling = 0.0, _INFINITY  # holds all: the second look succeeds
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
            # Twice `n_below` is less than the even number of steps, so middle >= 1.
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
    for t in range(n_steps):
        ratio = (step_t[t] - weight_center) * weight_scale
        weight = max(1 - ratio * ratio, 0.0) ** 2
        out_t[t + 1] = out_t[t] + weight * (step_t[t] - center)
