"""What simulated people say, and emotion wheels of a small invented vocabulary."""

from collections.abc import Mapping
from pathlib import Path

from merps.store.files import replace_file
from merps.tracks.extras import require_extra

#: Words for each emotion; the first is the word of the wheels.
WORDS: Mapping[str, tuple[str, ...]] = {
    "neutral": ("level", "leveled", "plain"),
    "angry": ("cross", "crossly", "boiling"),
    "happy": ("sunny", "sunnily", "beaming"),
    "sad": ("rainy", "rainily", "wilted"),
    "worried": ("foggy", "foggily", "knotted"),
    "surprise": ("startled", "startling", "agape"),
}
#: What is said with each emotion, in Chinese and English.
SENTENCES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "neutral": (("今天是星期二", "today is tuesday"), ("我住在这里", "i live here")),
    "angry": (("别再这样了", "stop doing that"), ("我受够了", "i have had enough")),
    "happy": (("太好了", "that is wonderful"), ("我们赢了", "we have won")),
    "sad": (("他走了", "he is gone"), ("我很想她", "i miss her so")),
    "worried": (("万一不行呢", "what if it fails"), ("我睡不着", "i cannot sleep")),
    "surprise": (("真的吗", "is that true"), ("没想到", "i never expected it")),
}
# Which emotions share a sector on each wheel.
_SECTORS = (
    ("neutral", "angry", "happy", "sad", "worried", "surprise"),
    ("still", "storm", "light", "storm", "storm", "light"),
    ("calm", "hot", "warm", "cold", "cold", "hot"),
    ("middle", "below", "above", "below", "below", "above"),
    ("even", "sharp", "round", "flat", "sharp", "round"),
)
_N_RUNS = 8


def write_wheels(folder: Path) -> None:
    """Write invented wheels in the files that MERTools has.

    Parameters
    ----------
    folder : Path
        Made if absent.

    Raises
    ------
    InputError
        If openpyxl is not installed.
    """
    openpyxl = require_extra("openpyxl", "av", why="to write emotion wheels")
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["name,format"]
    for word, form, synonym in WORDS.values():
        lines += [f'{word},"{form}, {word}"', f'{synonym},"{synonym}"']
    replace_file(folder / "format.csv", ("\n".join(lines) + "\n").encode())
    book = openpyxl.Workbook()
    sheet = book.active
    runs = range(1, _N_RUNS + 1)
    sheet.append([f"{kind}_run{k}" for k in runs for kind in ("word", "synonym")])
    for word, _, synonym in WORDS.values():
        sheet.append([cell for _ in runs for cell in (word, f"[{synonym}]")])
    book.save(folder / "synonym.xlsx")
    for number, sectors in enumerate(_SECTORS, start=1):
        book = openpyxl.Workbook()
        book.active.append(["level1", "level2", "level3"])
        former = None
        for sector, words in sorted(zip(sectors, WORDS.values(), strict=True)):
            shown = sector if sector != former else None  # as merged cells are read
            book.active.append([shown, f"{words[0]}ish", words[0]])
            former = sector
        book.save(folder / f"wheel{number}.xlsx")
