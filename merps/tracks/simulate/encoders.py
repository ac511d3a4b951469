"""Tiny encoders with random weights, in the folders that transformers writes."""

from pathlib import Path

from merps.models.determinism import torch_settings
from merps.store.files import replace_file
from merps.tracks.extras import require_transformers
from merps.tracks.simulate.words import SENTENCES, WORDS

_HIDDEN, _IMAGE_SIDE = 32, 32


def write_encoders(folder: Path, *, seed: int) -> None:
    """Write encoders of images (CLIP), sound (HuBERT) and text (BERT).

    Parameters
    ----------
    folder : Path
        Gets ``image``, ``audio`` and ``text``.
    seed : int
        Of the weights.

    Raises
    ------
    InputError
        If transformers is not installed.
    """
    transformers = require_transformers()
    size = {
        "hidden_size": _HIDDEN,
        "intermediate_size": 2 * _HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "initializer_range": 0.2,  # so that what is seen makes a difference
    }
    for name in ("image", "audio", "text"):
        (folder / name).mkdir(parents=True)
    with torch_settings(device="cpu", threads=1, seed=seed):
        clip = transformers.CLIPConfig(
            text_config={
                **size,
                "vocab_size": 8,
                "max_position_embeddings": 8,
                "bos_token_id": 0,
                "eos_token_id": 1,
            },
            vision_config={**size, "image_size": _IMAGE_SIDE, "patch_size": 8},
            projection_dim=_HIDDEN,
        )
        transformers.CLIPModel(clip).save_pretrained(folder / "image")
        hubert = transformers.HubertConfig(
            **size,
            conv_dim=(_HIDDEN,) * 4,
            conv_kernel=(10, 8, 8, 4),
            conv_stride=(5, 4, 4, 4),
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=2,
        )
        transformers.HubertModel(hubert).save_pretrained(folder / "audio")
        words = _vocabulary()
        bert = transformers.BertConfig(
            **size, vocab_size=len(words), max_position_embeddings=64
        )
        transformers.BertModel(bert).save_pretrained(folder / "text")
    transformers.CLIPImageProcessorPil(
        size={"shortest_edge": _IMAGE_SIDE}, crop_size=_IMAGE_SIDE
    ).save_pretrained(folder / "image")
    transformers.Wav2Vec2FeatureExtractor(
        feature_size=1, sampling_rate=16_000, do_normalize=True
    ).save_pretrained(folder / "audio")
    replace_file(folder / "text" / "vocab.txt", ("\n".join(words) + "\n").encode())
    transformers.BertTokenizer(str(folder / "text" / "vocab.txt")).save_pretrained(
        folder / "text"
    )


def _vocabulary() -> list[str]:
    """List every word that a simulated text has."""
    texts = [text for pairs in SENTENCES.values() for pair in pairs for text in pair]
    texts += [" ".join(words) for words in WORDS.values()]
    texts.append("the person seems .")
    known = {word for text in texts for word in text.split()}
    letters = {letter for text in texts for letter in text if letter > "\u4e00"}
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return special + sorted(known | letters)
