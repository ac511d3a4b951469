"""Encoders from local folders: what a clip looks, sounds and reads like, as numbers."""

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from merps.errors import InputError, mismatch
from merps.models.nets import first_line
from merps.tracks.extras import require_extra, require_transformers
from merps.tracks.media import AUDIO_RATE_HZ, Frames
from merps.tracks.options import EGEMAPS, StreamConfig

logger = logging.getLogger(__name__)

_WHY = "for eGeMAPS features"
_REMEDY = (
    "take a folder as save_pretrained writes it, with config.json, the weights as "
    "safetensors, and the processor or tokenizer"
)


class Encoder(ABC):
    """A model that turns one input into a row of numbers a step.

    Parameters
    ----------
    options : StreamConfig
        Folder, layers and batches.
    """

    def __init__(self, options: StreamConfig) -> None:
        self.options = options

    @abstractmethod
    def encode(self, content: Any) -> Float32[np.ndarray, "step feature"]:
        """Encode frames, sound or text.

        Parameters
        ----------
        content : object
            What the modality is made of.

        Returns
        -------
        ndarray of float32, shape (step, feature)
            One row a frame, a piece of sound or a token.
        """


class _Pretrained(Encoder):
    """An encoder of transformers, from files only."""

    processor: str

    def __init__(self, options: StreamConfig) -> None:
        super().__init__(options)
        transformers = require_transformers()
        require_encoder(options)
        folder = Path(options.encoder)
        extra = {"backend": "pil"} if self.processor == "AutoImageProcessor" else {}
        local: dict[str, Any] = {"local_files_only": True}
        try:
            self.prepare = getattr(transformers, self.processor).from_pretrained(
                folder, **local, **extra
            )
            model = transformers.AutoModel.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, **local
            )
        except Exception as error:  # whatever a foreign loader trips over
            raise mismatch(
                folder,
                expected=f"a model and its {self.processor}",
                found=first_line(error),
                remedy=_REMEDY,
            ) from error
        self.model = model.eval().to(options.device)

    def _summed(self, states: Sequence[torch.Tensor]) -> torch.Tensor:
        """Sum the last hidden layers."""
        return torch.stack(states[-self.options.layers :]).sum(0)


class TextEncoder(_Pretrained):
    """Tokens of a text, without special ones; an empty text has none."""

    processor = "AutoTokenizer"

    @torch.inference_mode()
    def encode(self, content: str) -> Float32[np.ndarray, "step feature"]:
        """Encode a text.

        Parameters
        ----------
        content : str
            Cut at the longest input of the model.

        Returns
        -------
        ndarray of float32, shape (step, feature)
            One row a token.
        """
        longest = getattr(self.model.config, "max_position_embeddings", 512)
        # Some models keep two positions for themselves.
        longest = min(self.prepare.model_max_length, max(longest - 2, 3))
        tokens = self.prepare(
            content,
            return_tensors="pt",
            truncation=True,
            max_length=longest,
            return_special_tokens_mask=True,
        )
        special = tokens.pop("special_tokens_mask")[0].bool()
        tokens = {k: v.to(self.options.device) for k, v in tokens.items()}
        states = self.model(**tokens, output_hidden_states=True).hidden_states
        return self._summed(states)[0].cpu()[~special].numpy()


class AudioEncoder(_Pretrained):
    """Pieces of sound, from rows of some seconds, the last one filled with zeros."""

    processor = "AutoFeatureExtractor"

    @torch.inference_mode()
    def encode(self, content: Any) -> Float32[np.ndarray, "step feature"]:
        """Encode sound.

        Parameters
        ----------
        content : ndarray of float32, shape (time,)
            At 16 kHz.

        Returns
        -------
        ndarray of float32, shape (step, feature)
            One row a step of the model.
        """
        name = self.prepare.model_input_names[0]
        given = self.prepare(content, sampling_rate=AUDIO_RATE_HZ, return_tensors="pt")
        device = self.options.device
        if name == "input_features":  # Whisper hears 30 s at once
            encoder = self.model.get_encoder()
            return encoder(given[name].to(device)).last_hidden_state[0].cpu().numpy()
        values = given[name]
        length = round(self.options.row_s * AUDIO_RATE_HZ)
        if values.shape[1] > length:
            n_rows = -(-values.shape[1] // length)
            padding = n_rows * length - values.shape[1]
            values = torch.nn.functional.pad(values, (0, padding)).view(-1, length)
        steps = [
            self._summed(
                self.model(part.to(device), output_hidden_states=True).hidden_states
            )
            for part in values.split(self.options.batch)
        ]
        return torch.cat(steps).flatten(0, 1).cpu().numpy()


class ImageEncoder(_Pretrained):
    """Frames by CLIP (their projection), DINOv2 or alike (mean of all patches)."""

    processor = "AutoImageProcessor"

    @torch.inference_mode()
    def encode(self, content: Frames) -> Float32[np.ndarray, "step feature"]:
        """Encode frames.

        Parameters
        ----------
        content : ndarray of uint8, shape (frame, height, width, 3)
            Red, green, blue.

        Returns
        -------
        ndarray of float32, shape (step, feature)
            One row a frame, or a step in time for models of video.
        """
        given = self.prepare(list(content), return_tensors="pt")
        pixels = given["pixel_values"].to(self.options.device)
        if pixels.ndim == 5:  # a model of video sees all frames at once
            patches = self.model(pixel_values=pixels).last_hidden_state[0]
            n_steps = self.model.config.num_frames // self.model.config.tubelet_size
            return patches.reshape(n_steps, -1, patches.shape[-1]).mean(1).cpu().numpy()
        rows = [self._frames(part) for part in pixels.split(self.options.batch)]
        return torch.cat(rows).cpu().numpy()

    def _frames(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return one row a frame."""
        if not hasattr(self.model, "get_image_features"):
            return self.model(pixel_values=pixels).last_hidden_state.mean(1)
        found = self.model.get_image_features(pixel_values=pixels)
        # A tensor before transformers 5, an output object since.
        return getattr(found, "pooler_output", found)


class EgemapsEncoder(Encoder):
    """The 88 eGeMAPS functionals of openSMILE, whose licence allows research only."""

    def __init__(self, options: StreamConfig) -> None:
        super().__init__(options)
        smile = require_extra("opensmile", "egemaps", why=_WHY)
        logger.warning(
            "openSMILE is under audEERING's research licence: no commercial use, also "
            "not of what is computed with it"
        )
        self._smile = smile.Smile(
            feature_set=smile.FeatureSet.eGeMAPSv02,
            feature_level=smile.FeatureLevel.Functionals,
        )

    def encode(self, content: Any) -> Float32[np.ndarray, "step feature"]:
        """Summarize sound.

        Parameters
        ----------
        content : ndarray of float32, shape (time,)
            At 16 kHz.

        Returns
        -------
        ndarray of float32, shape (step, feature)
            One row.
        """
        table = self._smile.process_signal(content, AUDIO_RATE_HZ)
        return table.to_numpy(dtype=np.float32)


def load_encoder(options: StreamConfig) -> Encoder:
    """Load the encoder of a stream.

    Parameters
    ----------
    options : StreamConfig
        Modality, and the folder of the encoder.

    Returns
    -------
    Encoder
        Ready to be used.

    Raises
    ------
    InputError
        If a library is not installed.
    DataError
        If the folder holds no such encoder.
    """
    if options.encoder == EGEMAPS:
        return EgemapsEncoder(options)
    kinds: dict[str, type[Encoder]] = {
        "audio": AudioEncoder,
        "face": ImageEncoder,
        "video": ImageEncoder,
    }
    return kinds.get(options.modality, TextEncoder)(options)


def require_encoder(options: StreamConfig) -> None:
    """Refuse a folder that would need a download, or weights that are pickled.

    Parameters
    ----------
    options : StreamConfig
        Of a stream; one without the folder of an encoder is passed over.

    Raises
    ------
    DataError
        If the folder lacks the configuration, or weights as safetensors.
    """
    if options.encoder in (None, EGEMAPS):
        return
    folder = Path(options.encoder)
    if not (folder / "config.json").is_file():
        found = "no config.json in it" if folder.is_dir() else "no such folder"
    elif not list(folder.glob("*.safetensors")):
        found = "no weights as safetensors (pickled ones are not read)"
    else:
        return
    raise mismatch(
        folder, expected="the folder of an encoder", found=found, remedy=_REMEDY
    )


def describe_encoder(options: StreamConfig) -> dict[str, Any]:
    """Say all that decides what an encoder gives, apart from the clip.

    Parameters
    ----------
    options : StreamConfig
        Of the stream.

    Returns
    -------
    dict
        Options, digests of the encoder's files, versions of the libraries.

    Raises
    ------
    InputError
        If a library is not installed.
    DataError
        If the folder holds no encoder.
    """
    library = "opensmile" if options.encoder == EGEMAPS else "transformers"
    if library == "transformers":
        version = require_transformers().__version__
    else:
        version = require_extra(library, "egemaps", why=_WHY).__version__
    require_encoder(options)
    files = {}
    if options.encoder != EGEMAPS:
        folder = Path(options.encoder)
        for path in sorted(p for p in folder.iterdir() if p.is_file()):
            with path.open("rb") as file:
                files[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    named = options.model_dump(exclude={"encoder", "device", "batch"})
    return {
        "options": named,
        "files": files or EGEMAPS,
        "versions": {library: version, "torch": torch.__version__},
    }


def pool_steps(
    steps: Float32[np.ndarray, "step feature"], pool: str
) -> Float32[np.ndarray, "pooled feature"]:
    """Average over time, or keep time.

    Parameters
    ----------
    steps : ndarray of float32, shape (step, feature)
        Of one clip.
    pool : str
        ``utterance`` or ``frame``.

    Returns
    -------
    ndarray of float32, shape (pooled, feature)
        One row for ``utterance``, unless there is none.

    Raises
    ------
    InputError
        If a number is not finite.
    """
    if not np.isfinite(steps).all():
        raise InputError("the encoder gives numbers that are not finite for a clip")
    if pool == "utterance" and len(steps):
        steps = steps.mean(axis=0, keepdims=True)
    return np.ascontiguousarray(steps, dtype=np.float32)
