"""Judges against an endpoint on this machine that is good, odd, broken or slow."""

import base64
import contextlib
import http.server
import io
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from merps.errors import DataError, InputError
from merps.tracks.judges import Judge, judge_table, parse_labels, parse_preference
from merps.tracks.media import MediaIndex, as_wav
from merps.tracks.options import JudgeConfig
from merps.tracks.simulate.scenes import write_video
from merps.tracks.tables import ClipTable

pytest.importorskip("av")
pytest.importorskip("openai")


class Endpoint:
    """A chat endpoint whose answers are those of a function of the message."""

    def __init__(self, answer, *, status=200, wait_s=0.0):
        self.requests = []
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.requests.append(asked)
                time.sleep(wait_s)
                parts = asked["messages"][0]["content"]
                content = {
                    "id": "1",
                    "object": "chat.completion",
                    "created": 0,
                    "model": asked["model"],
                    "choices": [
                        {
                            "index": 0,
                            "finish_reason": "stop",
                            "message": {"role": "assistant", "content": answer(parts)},
                        }
                    ],
                    "usage": {
                        "prompt_tokens": 10,
                        "completion_tokens": 2,
                        "total_tokens": 12,
                    },
                }
                data = json.dumps(content).encode()
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def text_of(parts):
    return " ".join(part["text"] for part in parts if part["type"] == "text")


def prefers_good(parts):
    """Prefer the text that says good, wherever it stands."""
    text = text_of(parts)
    return "a1" if text.index("good") < text.index("bad") else "A2."


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    path = tmp_path_factory.mktemp("media")
    for k, name in enumerate(("secret1", "secret2", "secret3")):
        frames = np.full((4, 32, 48, 3), 60 * k, np.uint8)
        write_video(path / f"{name}.mp4", frames)
        (path / f"{name}.wav").write_bytes(as_wav(np.full(800, 0.1 * k, np.float32)))
    return MediaIndex([path])


NAMES = ("secret1", "secret2", "secret3")
PREFER = ClipTable(
    Path("p.csv"),
    NAMES,
    None,
    (("good", "bad"), ("bad", "good"), ("good", "bad")),
    ("hello", "", ""),
    NAMES,
)
OPENSET = ClipTable(Path("f.csv"), NAMES, None, (), ("hello", "", ""), NAMES)


def run(table, media, folder, endpoint, *, jobs=1, **options):
    config = JudgeConfig(
        url=endpoint.url, **{"frames": 2, "retries": 0, "timeout_s": 20.0, **options}
    )
    return judge_table(table, Judge(folder, config), media, jobs=jobs)


def test_both_orders_are_asked_and_nothing_names_the_clip(media, tmp_path):
    with Endpoint(prefers_good) as endpoint:
        options = {"input_price": 1e6, "output_price": 2e6, "audio": True}
        found = run(PREFER, media, tmp_path, endpoint, jobs=2, **options)
    assert found.answers == ["a1", "a2", "a1"]
    usage = found.usage
    assert (usage.requests, usage.cached, usage.unparsed) == (6, 0, 0)
    assert (usage.input_tokens, usage.output_tokens, usage.cost) == (60, 12, 84.0)
    assert "secret" not in json.dumps(endpoint.requests)
    asked = [request["messages"][0]["content"] for request in endpoint.requests]
    parts = max(asked, key=len)  # of the clip in which something is said
    kinds = [part["type"] for part in parts]
    assert kinds == ["image_url", "image_url", "input_audio", "text", "text"]
    from PIL import Image

    url = parts[0]["image_url"]["url"]
    image = Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2])))
    assert image.size == (48, 32)


def test_answers_are_kept_and_an_interrupted_run_goes_on(media, tmp_path):
    with Endpoint(prefers_good) as endpoint:
        run(PREFER.take([0]), media, tmp_path, endpoint)
        found = run(PREFER, media, tmp_path, endpoint)
        assert (found.usage.requests, found.usage.cached) == (4, 2)
        damaged = next(tmp_path.glob("*.json"))
        damaged.write_text(damaged.read_text()[:-9])
        again = run(PREFER, media, tmp_path, endpoint)
    assert (again.usage.requests, again.usage.cached) == (1, 5)
    assert again.answers == found.answers


def test_who_disagrees_with_itself_says_same(media, tmp_path):
    with Endpoint(lambda parts: "a1") as endpoint:  # the first, whatever it is
        found = run(PREFER, media, tmp_path / "both", endpoint)
        single = run(PREFER, media, tmp_path / "one", endpoint, both_orders=False)
    assert found.answers == ["same"] * 3
    assert found.usage.unparsed == 0
    assert single.answers == ["a1"] * 3
    assert single.usage.requests == 3


def test_exchanging_the_texts_exchanges_the_verdicts(media, tmp_path):
    swapped = ClipTable(
        Path("p.csv"),
        NAMES,
        None,
        tuple(p[::-1] for p in PREFER.pairs),
        ("",) * 3,
        NAMES,
    )
    with Endpoint(prefers_good) as endpoint:
        found = run(swapped, media, tmp_path, endpoint)
    assert found.answers == ["a2", "a1", "a2"]


def test_garbage_is_counted_and_too_much_of_it_is_an_error(media, tmp_path):
    with Endpoint(lambda parts: "As a language model I cannot tell.") as endpoint:
        prefer = run(PREFER, media, tmp_path, endpoint)
        labels = run(OPENSET, media, tmp_path, endpoint)
    assert prefer.answers == ["same"] * 3
    assert prefer.usage.unparsed == 6
    with pytest.raises(DataError, match=r"6 of 6 answers of the judge say nothing"):
        prefer.require_parsed()
    assert labels.answers == [()] * 3
    with pytest.raises(DataError, match=r"3 of 3 .* --allow-unparsed"):
        labels.require_parsed()


def test_labels_are_asked_for_and_may_be_of_a_description(media, tmp_path):
    def answer(parts):
        text = text_of(parts)
        if "Describe" in text:
            return "She smiles."
        return "[Happy, calm]" if "She smiles." in text else "sad\n"

    with Endpoint(answer) as endpoint:
        direct = run(OPENSET, media, tmp_path, endpoint)
        described = run(OPENSET, media, tmp_path, endpoint, describe=True)
    direct.require_parsed()
    assert direct.answers == [("sad",)] * 3
    assert described.answers == [("happy", "calm")] * 3
    asked = [request["messages"][0]["content"] for request in endpoint.requests]
    assert ["text", "text"] in [[part["type"] for part in parts] for parts in asked]


@pytest.mark.parametrize("status", [500, 404])
def test_an_endpoint_that_fails_stops_the_run_after_the_retries(
    media, tmp_path, status
):
    with (
        Endpoint(prefers_good, status=status) as endpoint,
        pytest.raises(
            DataError, match=r"does not answer, with up to 1 retries .* are kept"
        ),
    ):
        run(PREFER, media, tmp_path, endpoint, retries=1)
    assert len(endpoint.requests) == (2 if status == 500 else 1)


def test_an_endpoint_that_hangs_or_is_not_there_stops_the_run(media, tmp_path):
    with (
        Endpoint(prefers_good, wait_s=1.0) as endpoint,
        pytest.raises(DataError, match="APITimeoutError"),
    ):
        run(PREFER.take([0]), media, tmp_path, endpoint, timeout_s=0.2)
    with pytest.raises(DataError, match="APIConnectionError"):
        run(PREFER.take([0]), media, tmp_path, endpoint)
    assert not list(tmp_path.glob("*.json"))


def test_media_and_keys_that_are_missing_are_told(media, tmp_path, monkeypatch):
    table = ClipTable(Path("f.csv"), ("gone",), None, (), ("",), ("gone",))
    with Endpoint(lambda parts: "sad") as endpoint:
        with pytest.raises(DataError, match="clip gone: no video under"):
            run(table, media, tmp_path, endpoint)
        found = run(table, media, tmp_path, endpoint, frames=0)
    assert len(found.answers) == 1
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(InputError, match="the environment has no NO_SUCH_KEY"):
        Judge(tmp_path, JudgeConfig(key_variable="NO_SUCH_KEY"))


@pytest.mark.parametrize(
    ("text", "strict", "official"),
    [
        ("a1", "a1", "a1"),
        (" A2.", "a2", "a2"),
        ("**a2**, since", "a2", "a2"),
        ("Answer: same", "same", "same"),
        ("I find a2 better than a1", None, "a2"),
        ("neither", None, None),
        ("", None, None),
    ],
)
def test_preferences_are_read_strictly_or_by_the_official_rule(text, strict, official):
    for parser, expected in (("strict", strict), ("official", official)):
        found = parse_preference(text, parser=parser)
        assert found == (expected or "same", expected is not None)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Happy, very calm.", ("happy", "very calm")),
        ("happy\nsad\nhappy", ("happy", "sad")),
        ("['angry']", ("angry",)),
        ("I cannot say what they feel at all", ()),
        ("高兴", ()),
        ("", ()),
    ],
)
def test_labels_are_words_between_commas(text, labels):
    assert parse_labels(text) == labels
