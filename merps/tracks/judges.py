"""Language models as judges of MER-FG and MER-Prefer, behind any chat endpoint."""

import base64
import hashlib
import io
import json
import logging
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from merps.engine import Progress, Silence, run_tasks
from merps.errors import DataError, InputError
from merps.store.files import canonical, read_sealed, replace_file, sealed, writing
from merps.tracks.extras import require_extra
from merps.tracks.media import Frames, MediaIndex, as_wav, read_audio, read_frames
from merps.tracks.options import JudgeConfig
from merps.tracks.tables import ClipTable, parse_openset

logger = logging.getLogger(__name__)

#: More answers than this share that say nothing end a run with an error.
MOST_UNPARSED = 0.05

_JPEG_QUALITY = 90
_MOST_WORDS = 4
_LABEL = re.compile(r"[a-z][a-z' -]{1,39}")
_PREFERENCE = re.compile(r"a1|a2|same")
_STRICT = re.compile(r"[^a-z0-9]*(?:answer\W+)?(a1|a2|same)\b")

_ASK_LABELS = (
    "Name every emotional state of the person in this clip that can be seen, heard or "
    "read. Answer with nothing but English words or short phrases, separated by commas."
)
_DESCRIBE = (
    "Describe what the person in this clip does, says and seems to feel, in a few "
    "sentences."
)
_ASK_PREFERENCE = (
    "Two people have described the emotion of the person in this clip.\n"
    "a1: {}\n"
    "a2: {}\n"
    "Which description fits better? Answer with nothing but a1, a2 or same."
)


@dataclass
class Usage:
    """What a run of a judge has cost.

    Parameters
    ----------
    requests, cached : int
        Answers asked of the endpoint, and taken from earlier runs.
    input_tokens, output_tokens : int
        As the endpoint counts them.
    cost : float
        By the prices that the options give for a million tokens.
    unparsed : int
        Answers that say nothing.
    """

    requests: int = 0
    cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    unparsed: int = 0


@dataclass(frozen=True)
class Verdicts:
    """What a judge says of the rows of a table.

    Parameters
    ----------
    answers : list
        A tuple of labels, or ``a1``, ``a2`` or ``same``.
    usage : Usage
        What it has cost.
    n_questions : int
        How many answers were to be parsed.
    """

    answers: list[Any] = field(repr=False)
    usage: Usage
    n_questions: int

    def require_parsed(self) -> None:
        """Refuse verdicts of which too many say nothing.

        Raises
        ------
        DataError
            If more than 5 % could not be parsed.
        """
        share = self.usage.unparsed / max(self.n_questions, 1)
        if share > MOST_UNPARSED:
            raise DataError(
                f"{self.usage.unparsed} of {self.n_questions} answers of the judge say "
                f"nothing ({share:.0%}, at most {MOST_UNPARSED:.0%} may): look at them "
                "in the store, take another model or more judge.max_tokens, or pass "
                "--allow-unparsed"
            )


class Judge:
    """Asks a chat endpoint that speaks as OpenAI's does, and keeps its answers.

    Nothing that is sent names the clip. Answers are kept by the digest of all that was
    sent, so that an interrupted run goes on where it stopped.

    Parameters
    ----------
    folder : Path
        Where answers are kept.
    options : JudgeConfig
        Endpoint, model and what it is shown.

    Raises
    ------
    InputError
        If the library openai is not installed, or the key is not set.
    """

    def __init__(self, folder: Path, options: JudgeConfig) -> None:
        self._openai = require_extra("openai", "llm", why="to ask a judge")
        key = "none"
        if options.key_variable is not None:
            key = os.environ.get(options.key_variable, "")
            if not key:
                raise InputError(
                    f"judge.key_variable: the environment has no {options.key_variable}"
                )
        self._client = self._openai.OpenAI(
            base_url=options.url,
            api_key=key,
            timeout=options.timeout_s,
            max_retries=options.retries,
        )
        self.options, self._folder = options, folder
        self.usage = Usage()
        self._lock = threading.Lock()
        with writing(folder, needed_bytes=0):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def ask(self, parts: Sequence[dict[str, Any]]) -> str:
        """Return the answer to one message.

        Parameters
        ----------
        parts : sequence of dict
            Texts, images and sound, as the interface wants them.

        Returns
        -------
        str
            What the model wrote.

        Raises
        ------
        DataError
            If the endpoint does not answer within the retries, or refuses.
        """
        asked = {
            "model": self.options.model,
            "messages": [{"role": "user", "content": list(parts)}],
            "temperature": self.options.temperature,
            "max_tokens": self.options.max_tokens,
        }
        content = canonical({**asked, "url": self.options.url})
        path = self._folder / f"{hashlib.sha256(content).hexdigest()[:32]}.json"
        if path.exists():
            try:
                answer = read_sealed(path, remedy="it is asked for again")["answer"]
                with self._lock:
                    self.usage.cached += 1
                return answer
            except DataError as error:
                logger.warning("%s", error)
        try:
            reply = self._client.chat.completions.create(**asked)
            answer = reply.choices[0].message.content or ""
        except self._openai.OpenAIError as error:
            raise self._failed(error) from error
        except (IndexError, AttributeError, TypeError, json.JSONDecodeError) as error:
            raise self._failed(error) from error
        used = getattr(reply, "usage", None)
        n_in = getattr(used, "prompt_tokens", 0) or 0
        n_out = getattr(used, "completion_tokens", 0) or 0
        data = sealed({"answer": answer, "model": self.options.model})
        with writing(path, needed_bytes=len(data)):
            replace_file(path, data)
        with self._lock:
            self.usage.requests += 1
            self.usage.input_tokens += n_in
            self.usage.output_tokens += n_out
            self.usage.cost += n_in * self.options.input_price / 1e6
            self.usage.cost += n_out * self.options.output_price / 1e6
        return answer

    def count_unparsed(self) -> None:
        """Note that an answer says nothing."""
        with self._lock:
            self.usage.unparsed += 1

    def _failed(self, error: Exception) -> DataError:
        """Say that the endpoint is of no use."""
        return DataError(
            f"{self.options.url}: the judge does not answer, with up to "
            f"{self.options.retries} retries ({type(error).__name__}: "
            f"{str(error)[:200]}); answers so far are kept, start the endpoint, look "
            "at judge.url and judge.model, and run again"
        )


def judge_table(
    table: ClipTable,
    judge: Judge,
    index: MediaIndex,
    *,
    jobs: int = 2,
    progress: Progress | None = None,
) -> Verdicts:
    """Ask a judge about every row of a table.

    Parameters
    ----------
    table : ClipTable
        Of MER-Prefer if its rows have two texts, else of MER-FG.
    judge : Judge
        Whom to ask.
    index : MediaIndex
        Where the media are.
    jobs : int
        Rows at a time.
    progress : Progress, optional
        Told of each row.

    Returns
    -------
    Verdicts
        Row by row.

    Raises
    ------
    DataError
        If media of a row are missing or damaged, or the endpoint does not answer.
    """
    progress, options = progress or Silence(), judge.options

    def judged(row: int) -> Any:
        shown = _show(table, row, index, options)
        if table.pairs:
            return _prefer(judge, shown, table.pairs[row])
        return _label(judge, shown)

    progress.expect(len(table))
    answers = []
    for outcome in run_tasks(judged, range(len(table)), jobs=jobs):
        if outcome.error is not None:
            raise outcome.error
        answers.append(outcome.value)
        progress.done(f"row {outcome.task + 1}")
    orders = 2 if table.pairs and options.both_orders else 1
    return Verdicts(answers, judge.usage, orders * len(table))


def parse_preference(text: str, *, parser: str) -> tuple[str, bool]:
    """Read a preference out of what a model wrote.

    Parameters
    ----------
    text : str
        Its answer.
    parser : str
        ``official``: what it begins with, else the earliest of a1, a2 and same in it,
        else same; ``strict``: only what it begins with, ``Answer:`` aside.

    Returns
    -------
    tuple of (str, bool)
        ``a1``, ``a2`` or ``same``, and whether the text said so; same if it did not.
    """
    found = text.lower().strip()
    match = _STRICT.match(found) if parser == "strict" else _PREFERENCE.search(found)
    if match is None:
        return "same", False
    return match.group(match.lastindex or 0), True


def parse_labels(text: str) -> tuple[str, ...]:
    """Read a list of labels out of what a model wrote.

    Parameters
    ----------
    text : str
        Its answer: words between commas, with or without brackets.

    Returns
    -------
    tuple of str
        Labels in lower case, each once; none if the text is no such list.
    """
    labels = parse_openset(text.strip().rstrip(".").replace("\n", ","))
    for label in labels:
        if not _LABEL.fullmatch(label) or len(label.split()) > _MOST_WORDS:
            return ()
    return tuple(dict.fromkeys(labels))


def _prefer(judge: Judge, shown: list[dict], pair: tuple[str, str]) -> str:
    """Ask for a preference, in both orders if so wanted; who disagrees says same."""
    said = []
    for texts in (pair, pair[::-1])[: 2 if judge.options.both_orders else 1]:
        answer = judge.ask([*shown, _text(_ASK_PREFERENCE.format(*texts))])
        found, parsed = parse_preference(answer, parser=judge.options.parser)
        if not parsed:
            judge.count_unparsed()
        said.append(found)
    if len(said) == 2:
        said[1] = {"a1": "a2", "a2": "a1"}.get(said[1], "same")
    return said[0] if len(set(said)) == 1 else "same"


def _label(judge: Judge, shown: list[dict]) -> tuple[str, ...]:
    """Ask for labels, of a description if so wanted."""
    if judge.options.describe:
        shown = [_text(judge.ask([*shown, _text(_DESCRIBE)]))]
    labels = parse_labels(judge.ask([*shown, _text(_ASK_LABELS)]))
    if not labels:
        judge.count_unparsed()
    return labels


def _show(
    table: ClipTable, row: int, index: MediaIndex, options: JudgeConfig
) -> list[dict[str, Any]]:
    """Return what a model is shown of a clip: frames, sound and what is said."""
    name, parts = table.names[row], []
    wanted = {"video": options.frames, "audio": options.audio}
    paths = {kind: index.find(name, kind) for kind, on in wanted.items() if on}
    for kind, path in paths.items():
        if path is None:
            raise DataError(
                f"{table.path}, clip {name}: no {kind} under "
                f"{', '.join(map(str, index.roots))}; add the file, or ask without "
                f"{'judge.frames (0)' if kind == 'video' else 'judge.audio'}"
            )
    if options.frames:
        frames = read_frames(paths["video"], count=options.frames)
        for image in _as_jpegs(frames, options.width):
            url = f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
            parts.append({"type": "image_url", "image_url": {"url": url}})
    if options.audio:
        data = base64.b64encode(as_wav(read_audio(paths["audio"]))).decode()
        parts.append(
            {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
        )
    if table.subtitles[row].strip():
        parts.append(_text(f"What is said: {table.subtitles[row].strip()}"))
    return parts


def _text(text: str) -> dict[str, str]:
    """Return a part of a message."""
    return {"type": "text", "text": text}


def _as_jpegs(frames: Frames, width: int) -> list[bytes]:
    """Write frames as JPEG, none wider than `width`."""
    from PIL import Image

    images = []
    for array in frames:
        image, buffer = Image.fromarray(array), io.BytesIO()
        if image.width > width:
            image = image.resize((width, round(image.height * width / image.width)))
        image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
        images.append(buffer.getvalue())
    return images
