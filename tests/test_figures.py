import numpy as np
import pytest
from matplotlib.figure import Figure
from tables import make_samples, shuffled

from merps.errors import InputError
from merps.figures import plot_trajectories


@pytest.fixture
def figures(monkeypatch):
    """Keep the figures that are saved; they are still written."""
    saved, save = [], Figure.savefig

    def keep(figure, *args, **kwargs):
        saved.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def draw(path, samples, **changes):
    facts = {
        "predictions": {"prior": samples.targets + 5, "fusion": samples.targets * 0.5},
        "person": "test_2",
        "stimuli": ["V03", "V01"],
        "title": "Simulated data",
    }
    plot_trajectories(path, samples, **(facts | changes))


def lines_of(figure):
    return [
        {line.get_label(): line.get_xydata() for line in axis.get_lines()}
        for axis in figure.axes
    ]


def test_the_lines_are_the_ratings_and_the_predictions(rng, tmp_path, figures):
    samples = make_samples(rng)
    draw(tmp_path / "a.png", samples)
    lines = lines_of(figures[0])
    panels = [(v, k) for k in range(2) for v in ("V03", "V01")]
    assert len(lines) == len(panels)
    for panel, (stimulus, k) in zip(lines, panels, strict=True):
        rows = (samples.people == "test_2") & (samples.stimuli == stimulus)
        rated = samples.targets[rows, k]
        expected = {"rated": rated, "prior": rated + 5, "fusion": rated * 0.5}
        assert panel.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(panel[name][:, 0], samples.seconds[rows])
            np.testing.assert_array_equal(panel[name][:, 1], values)


def test_the_order_of_rows_does_not_matter(rng, tmp_path, figures):
    samples = make_samples(rng)
    for table in (samples, shuffled(samples, rng)):
        draw(tmp_path / "a.png", table)
    for one, other in zip(*map(lines_of, figures), strict=True):
        for name, points in one.items():
            np.testing.assert_array_equal(points, other[name])


def test_words_and_scale(rng, tmp_path, figures):
    draw(tmp_path / "a.png", make_samples(rng))
    (figure,) = figures
    assert figure.get_suptitle() == "Simulated data"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["rated", "prior", "fusion"]
    titles = [axis.get_title() for axis in figure.axes[:2]]
    assert titles == ["test_2, V03", "test_2, V01"]
    assert [axis.get_ylabel() for axis in figure.axes] == ["valence", "", "arousal", ""]
    for axis in figure.axes:
        assert axis.get_ylim() == (1, 255)


def test_models_are_told_apart_by_color_and_style(rng, tmp_path, figures):
    samples = make_samples(rng)
    names = ["constant", "video", "video_time", "fusion"]
    predictions = {name: samples.targets for name in names}
    draw(tmp_path / "a.png", samples, predictions=predictions)
    looks = [(x.get_color(), x.get_linestyle()) for x in figures[0].axes[0].get_lines()]
    assert len({color for color, _ in looks}) == 5
    assert len({style for _, style in looks[1:]}) == 4


def test_equal_data_give_equal_bytes(rng, tmp_path):
    samples = make_samples(rng)
    for name in ("a.png", "b.png"):
        draw(tmp_path / name, samples)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")]
)
def test_the_ending_decides_the_format(rng, tmp_path, name, start):
    draw(tmp_path / name, make_samples(rng), stimuli=["V01"])
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"person": "test_9"}, "no samples of test_9 during V03"),
        ({"stimuli": ["V01", "V99"]}, "no samples of test_2 during V99"),
        ({"stimuli": []}, "no trial to draw"),
    ],
)
def test_trials_that_are_not_there(rng, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        draw(tmp_path / "a.png", make_samples(rng), **changes)
    assert not (tmp_path / "a.png").exists()
