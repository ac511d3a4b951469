"""Slow references, written from the definitions; they share no code with merps."""

import itertools

import numpy as np


def fill_gaps(x_t):
    out = list(x_t)
    known = [t for t, value in enumerate(x_t) if value == value]
    for t in range(len(out)):
        if not known:
            out[t] = 0.0
        elif t not in known:
            before = [k for k in known if k < t]
            after = [k for k in known if k > t]
            if before and after:
                a, b = before[-1], after[0]
                out[t] = x_t[a] + (x_t[b] - x_t[a]) * (t - a) / (b - a)
            else:
                out[t] = x_t[before[-1]] if before else x_t[after[0]]
    return np.array(out)


def hold_gaps(x_t):
    out, last = [], next((value for value in x_t if value == value), 0.0)
    for value in x_t:
        last = value if value == value else last
        out.append(last)
    return np.array(out)


def missing_share(x_t):
    return sum(1 for value in x_t if value != value) / len(x_t)


def window_ranges(x_t, length):
    ranges = []
    for first in range(0, len(x_t) - length + 1, length):
        known = [v for v in x_t[first : first + length] if v == v]
        if len(known) >= length / 2:
            ranges.append(max(known) - min(known))
    return ranges


def clipped_share(x_t):
    known = [v for v in x_t if v == v]
    extremes = (min(known), max(known))
    clipped = 0
    for t, value in enumerate(x_t):
        if value in extremes:
            first = last = t
            while first > 0 and x_t[first - 1] == value:
                first -= 1
            while last + 1 < len(x_t) and x_t[last + 1] == value:
                last += 1
            clipped += last - first + 1 >= 3
    return clipped / len(known)


def resample(x_t, taps, up, down):
    """Insert zeros, convolve at the high rate around each sample kept."""
    half = len(taps) // 2
    n_pad = half // up + 1
    ends = x_t[0], x_t[-1]
    before = [2 * ends[0] - x_t[k] for k in range(n_pad, 0, -1)]
    after = [2 * ends[1] - x_t[-1 - k] for k in range(1, n_pad + 1)]
    padded = np.concatenate([before, x_t, after])
    fine = np.zeros(len(padded) * up)
    fine[::up] = padded
    out = []
    for centre in range(n_pad * up, (n_pad + len(x_t)) * up, down):
        span = fine[max(centre - half, 0) : centre + half + 1]
        out.append(sum(taps[-len(span) :] * span))
    return np.array(out)


def resample_behind(x_t, taps, up, down):
    """Insert zeros, convolve with the taps up to each sample kept."""
    n_pad = len(taps) // up + 1
    fine = np.zeros((n_pad + len(x_t)) * up)
    fine[::up] = np.concatenate([[x_t[0]] * n_pad, x_t])
    ends = range(n_pad * up, len(fine), down)
    return np.array([sum(taps * fine[e - len(taps) + 1 : e + 1]) for e in ends])


def gather_windows(signal, starts, length):
    pad = length + signal.shape[-1] + int(max(abs(s) for s in starts))
    spread = [(0, 0)] * (signal.ndim - 1) + [(pad, pad)]
    padded = np.pad(signal, spread, mode="symmetric")
    return np.stack([padded[..., pad + s : pad + s + length] for s in starts])


def band_power(x_t, rate_hz, low_hz, high_hz):
    """Sum the one-sided direct Fourier transform over ``[low, high)``."""
    n = len(x_t)
    taper = [np.sin(np.pi * t / n) ** 2 for t in range(n)]
    mean = sum(x_t) / n
    total = 0.0
    for k in range(n // 2 + 1):
        if low_hz <= k * rate_hz / n < high_hz:
            terms = (
                taper[t] * (x_t[t] - mean) * np.exp(-2j * np.pi * k * t / n)
                for t in range(n)
            )
            sides = 1 if k == 0 or 2 * k == n else 2
            total += sides * abs(sum(terms)) ** 2
    return total / (n * sum(w**2 for w in taper))


def summarize_hemodynamics(x_t, rate_hz):
    times = [t / rate_hz for t in range(len(x_t))]
    slope, _ = np.polyfit(times, x_t, 1)
    mean = sum(x_t) / len(x_t)
    return mean, slope, (sum((v - mean) ** 2 for v in x_t) / len(x_t)) ** 0.5


def smooth_in_time(values, trials, seconds, width_s):
    out = np.full(values.shape, np.nan)
    for row in range(len(values)):
        near = (trials == trials[row]) & (2 * abs(seconds - seconds[row]) <= width_s)
        for column in range(values.shape[1]):
            known = [v for v in values[near, column] if v == v]
            if known:
                out[row, column] = sum(known) / len(known)
    return out


def smooth_past(values, trials, seconds, width_s):
    out = np.full(values.shape, np.nan)
    for row in range(len(values)):
        age = seconds[row] - seconds
        near = (trials == trials[row]) & (age >= 0) & (age < max(width_s, 1))
        for column in range(values.shape[1]):
            known = [v for v in values[near, column] if v == v]
            if known:
                out[row, column] = sum(known) / len(known)
    return out


def score(predictions, targets):
    """The official rule, one sample after the other."""
    final = [[min(max(round(v), 1), 255) for v in row] for row in predictions]
    out, mse = {}, []
    for column, name in enumerate(("valence", "arousal")):
        p = [float(row[column]) for row in final]
        t = [float(row[column]) for row in targets]
        n = len(p)
        mean_p, mean_t = sum(p) / n, sum(t) / n
        var_p = sum((v - mean_p) ** 2 for v in p) / n
        var_t = sum((v - mean_t) ** 2 for v in t) / n
        cov = sum((a - mean_p) * (b - mean_t) for a, b in zip(p, t, strict=True)) / n
        flat = len(set(p)) == 1 or len(set(t)) == 1
        bottom = var_p + var_t + (mean_p - mean_t) ** 2
        out[f"ccc_{name}"] = 0.0 if flat else 2 * cov / bottom
        out[f"pearson_{name}"] = 0.0 if flat else cov / (var_p * var_t) ** 0.5
        out[f"mae_{name}"] = sum(abs(a - b) for a, b in zip(p, t, strict=True)) / n
        mse.append(sum((a - b) ** 2 for a, b in zip(p, t, strict=True)) / n)
    for name in ("mae", "ccc", "pearson"):
        out[name] = (out[f"{name}_valence"] + out[f"{name}_arousal"]) / 2
    out["mse"] = sum(mse) / 2
    out["rmse"] = out["mse"] ** 0.5
    return out


def video_time_course(seconds, targets, smoothing_s):
    """Median of each second, then the mean over the seconds around it."""
    last = int(max(seconds))
    medians = [np.median(targets[seconds == s], axis=0) for s in range(last + 1)]
    radius = smoothing_s // 2
    return np.array(
        [
            np.mean(medians[max(0, s - radius) : s + radius + 1], axis=0)
            for s in range(last + 1)
        ]
    )


def shrinkage(stimuli, seconds, targets):
    """Share of the variance of medians that is due to the choice of people."""
    cells = [
        targets[(stimuli == name) & (seconds == s)]
        for name in np.unique(stimuli)
        for s in range(max(seconds[stimuli == name]) + 1)
    ]
    if all(len(cell) == 1 for cell in cells):
        return np.zeros(2)
    within = sum(((cell - cell.mean(axis=0)) ** 2).sum(axis=0) for cell in cells)
    within /= sum(len(cell) - 1 for cell in cells)
    of_median = np.mean([np.pi / 2 / (len(c) - 1 + np.pi / 2) for c in cells]) * within
    spread = np.var([np.median(cell, axis=0) for cell in cells], axis=0)
    return np.minimum(1, of_median / spread)


def ridge(z, y, alpha):
    """Minimize mean((y - b - z w)^2) + alpha |w|^2 through one stacked problem."""
    n, p = z.shape
    design = np.vstack([np.c_[z, np.ones(n)] / n**0.5, np.eye(p, p + 1) * alpha**0.5])
    solution = np.linalg.lstsq(design, np.r_[y / n**0.5, np.zeros(p)], rcond=None)[0]
    return solution[:-1], solution[-1]


def hemodynamics(course_1hz, time_s, lag_s):
    """Sum what each past moment adds; a course leads its report and starts at 0."""
    centers_s = [second + 0.5 - lag_s for second in range(len(course_1hz))]
    total = weight = 0.0
    for age_s in np.arange(0, 32, 0.05):
        factorial = 1.0
        for k in range(1, 16):
            factorial *= k
        response = age_s**5 / 120 - age_s**15 / factorial / 6
        response *= np.exp(-age_s)
        weight += response
        if time_s - age_s >= centers_s[0]:
            total += response * np.interp(time_s - age_s, centers_s, course_1hz)
    return total / weight


def scan_windows(x_tc, length):
    low, high, missing = [], [], []
    for first in range(0, len(x_tc), length):
        columns = [[v for v in x_t if v == v] for x_t in x_tc[first : first + length].T]
        n_times = len(x_tc[first : first + length])
        low.append([min(known, default=np.inf) for known in columns])
        high.append([max(known, default=-np.inf) for known in columns])
        missing.append([n_times - len(known) for known in columns])
    return np.array(low, dtype=float), np.array(high, dtype=float), np.array(missing)


def subtract_first(x_tc):
    pairs = [list(zip(x_c, x_tc[0], strict=True)) for x_c in x_tc]
    return np.array([[value - first for value, first in row] for row in pairs])


def count_clipped(x_tc):
    known = [sum(v == v for v in x_t) for x_t in x_tc.T]
    return [n and round(clipped_share(x_tc[:, c]) * n) for c, n in enumerate(known)]


def line_noise(x_t, rate_hz, line_hz):
    """Compare powers of a direct Fourier transform of up to 16 segments of 2 s."""
    n = round(2 * rate_hz)
    n_segments = min(16, len(x_t) // n)
    powers = {"line": [], "beside": []}
    for i in range(n_segments):
        start = i * (len(x_t) - n) // (n_segments - 1) if i else 0
        segment = x_t[start : start + n]
        if any(v != v for v in segment):
            continue
        segment = (segment - sum(segment) / n) * np.hanning(n)
        for k in range(n // 2 + 1):
            distance_hz = abs(k * rate_hz / n - line_hz)
            place = "line" if distance_hz <= 1 else "beside" if distance_hz >= 2 else ""
            if place and distance_hz <= 4:
                wave = np.exp(-2j * np.pi * k * np.arange(n) / n)
                powers[place].append(abs(sum(segment * wave)) ** 2)
    if not powers["line"]:
        return np.nan
    return np.mean(powers["line"]) / np.mean(powers["beside"])


def filter_rows(sections_s6, first, step, count, early_sc, late_sc, x_tc):
    """Run the difference equation of each section, one sample and channel at a time."""
    early, late, y_tc = early_sc.copy(), late_sc.copy(), x_tc.copy()
    for c in range(x_tc.shape[1]):
        for t in [first + n * step for n in range(count)]:
            for s, (b0, b1, b2, _, a1, a2) in enumerate(sections_s6):
                x = y_tc[t, c]
                y = b0 * x + early[s, c]
                early[s, c] = b1 * x - a1 * y + late[s, c]
                late[s, c] = b2 * x - a2 * y
                y_tc[t, c] = y
    return early, late, y_tc


def resample_rows(x_tc, origin, taps, up, down, first, n_out):
    """Sum taps times inputs at their distance on the fine grid."""
    half = len(taps) // 2
    out = np.zeros((n_out, x_tc.shape[1]))
    for n in range(n_out):
        for row in range(len(x_tc)):
            tap = half + (first + n) * down - (origin + row) * up
            if 0 <= tap < len(taps):
                out[n] += taps[tap] * x_tc[row]
    return out


def weigh_steps(x_t):
    """Follow Fishburn et al. 2019: steps with Tukey's weights, summed again."""
    steps = np.diff(x_t)
    weights, center = np.ones(len(steps)), np.inf
    for _ in range(50):
        before, center = center, np.sum(weights * steps) / np.sum(weights)
        distances = np.abs(steps - center)
        sigma = 1.4826 * np.median(distances)
        if sigma == 0:
            break
        inside = distances < 4.685 * sigma
        weights = np.where(inside, (1 - (distances / (4.685 * sigma)) ** 2) ** 2, 0)
        if abs(center - before) < 2**-26 * max(abs(center), abs(before)):
            break
    return np.concatenate([[0], np.cumsum(weights * (steps - center))])


def add_scatter(scatter_bcc, first, stop, shift_wpc):
    """Add the pieces of each window and the outer products of its shifts."""
    scatter = []
    for w in range(len(first)):
        total = sum(scatter_bcc[b] for b in range(first[w], stop[w]))
        for p in range(stop[w] - first[w]):
            total = total + np.outer(shift_wpc[w, p], shift_wpc[w, p])
        scatter.append(total)
    return np.array(scatter), np.array([(s**2).sum(axis=0) for s in scatter])


def covariance(x_ct, estimator):
    """Shrink the sample covariance of one window as the papers' formulas say."""
    c, n = x_ct.shape
    z_ct = x_ct - x_ct.mean(axis=1, keepdims=True)
    samples = [np.outer(z, z) for z in z_ct.T]
    scm = sum(samples) / n
    target = np.trace(scm) / c * np.eye(c)
    if estimator == "scm" or (scm == target).all():
        return scm
    if estimator == "oas":
        square, trace = np.trace(scm @ scm), np.trace(scm)
        share = (square + trace**2) / ((n + 1) * (square - trace**2 / c))
    else:
        noise = sum(((sample - scm) ** 2).sum() for sample in samples) / n**2
        share = noise / ((scm - target) ** 2).sum()
    share = min(share, 1)
    return (1 - share) * scm + share * target


def average_rows(x_tc, factor):
    x_tc = x_tc.astype(np.float64)
    return [sum(x_tc[t : t + factor]) / factor for t in range(0, len(x_tc), factor)]


def sum_steps(x_tc, level_bc, length):
    out = []
    for b, level_c in enumerate(level_bc):
        values = x_tc[b * length : (b + 1) * length] - level_c
        differences = [np.diff(values, order, axis=0) for order in range(3)]
        out.append([sum(d**power) for d in differences for power in (1, 2)])
    return np.array(
        [[np.broadcast_to(s, x_tc.shape[1]) for s in block] for block in out]
    )


def sum_spans(x_tr, starts, length):
    sums = []
    for start in starts:
        rest_tr = x_tr[start : start + length].astype(np.float64) - x_tr[start]
        places = np.arange(length) - (length - 1) / 2
        sums.append([rest_tr.sum(axis=0), places @ rest_tr, (rest_tr**2).sum(axis=0)])
    return np.array(sums)


def find_motion(x_t, reach, around, deviations, max_change):
    n = len(x_t)
    steps = [b - a for a, b in itertools.pairwise(x_t) if b - a == b - a]
    limit = max_change
    if steps:
        limit = min(limit, deviations * np.std(steps))
    moving = [False] * n
    for first in range(n):
        for last in range(first + 1, min(first + reach, n - 1) + 1):
            if abs(x_t[last] - x_t[first]) > limit:
                for t in range(first, last + 1):
                    moving[t] = True
    return [any(moving[max(t - around, 0) : t + around + 1]) for t in range(n)]


def spline_motion(x_t, motion_t, rate_hz, smoothness):
    """Penalized least squares over all natural cubic splines, by their second steps."""
    out = np.array(x_t, dtype=np.float64)
    if not any(motion_t):
        return out
    edges = [0]
    edges += [t for t in range(1, len(x_t)) if motion_t[t] != motion_t[t - 1]]
    edges += [len(x_t)]
    stretches = list(itertools.pairwise(edges))
    for a, b in stretches:
        n = b - a
        if motion_t[a] and n < 5:
            out[a:b] -= np.mean(out[a:b])
        elif motion_t[a]:
            # Green and Silverman 1994, eq. 2.4: with Q and R of the natural spline,
            # (I + c Q R^-1 Q') f = x.
            h = 1 / rate_hz
            q, r = np.zeros((n, n - 2)), np.zeros((n - 2, n - 2))
            for j in range(n - 2):
                q[j, j], q[j + 1, j], q[j + 2, j] = 1 / h, -2 / h, 1 / h
                r[j, j] = 2 * h / 3
                if j:
                    r[j, j - 1] = r[j - 1, j] = h / 6
            rough = q @ np.linalg.solve(r, q.T) * (1 - smoothness) / smoothness
            out[a:b] -= np.linalg.solve(np.eye(n) + rough, out[a:b])

    def near(a, b):
        seconds = (b - a) / rate_hz
        if seconds < 0.3:
            return b - a
        return max(int(0.3 * rate_hz) if seconds < 3 else (b - a) // 10, 1)

    for (a, b), (_, c) in itertools.pairwise(stretches):
        level = np.mean(out[b - near(a, b) : b])
        out[b:c] += level - np.mean(out[b : b + near(b, c)])
    return out + np.mean(x_t) - np.mean(out)


def motion_ratio(x_t, length):
    starts = range(0, len(x_t) - length, length)
    windows = [x_t[first : first + length + 1] for first in starts]
    ranges = [max(w) - min(w) for w in windows if not np.isnan(w).any()]
    if len(windows) < 2 or len(ranges) < 2 or np.median(ranges) == 0:
        return np.nan
    return max(ranges) / np.median(ranges)
