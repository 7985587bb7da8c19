"""espeak-ng with phone times, as a small program of its own.

    python -m talkinghead.training.espeak REQUESTS.json OUT.npz

The command-line tool of espeak-ng tells no phone times (its --pho file is empty for formant voices); the library
does, through a callback. The library holds its voice, its random numbers and its buffers in global variables, so
it is loaded here, in a process that ends with the batch: the same requests give the same samples.

REQUESTS.json: list of {"text", "voice", "rate" (words per minute), "pitch", "range" (0 to 100)}
OUT.npz:       rate; for request i `samples<i>` int16 [N] and `events<i>` JSON: list of [seconds, IPA]. A request
               whose voice is not installed has no samples.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIBRARY = "libespeak-ng.so.1"

# from espeak-ng/speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_PHONEME_EVENTS, _PHONEME_IPA = 1, 2
_EVENT_LIST_TERMINATED, _EVENT_PHONEME = 0, 7
_RATE, _PITCH, _RANGE = 1, 3, 4
_POSITION_CHARACTER, _CHARS_UTF8 = 1, 1


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))

Spoken = tuple[NDArray[np.int16], list[tuple[float, str]]]


class Espeak:
    """The loaded library. Make one per process: it is global state. Raises OSError where it is not installed."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(LIBRARY)
        self._library.espeak_Synth.argtypes = (
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        )  # fmt: skip
        self.rate: int = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, None, _PHONEME_EVENTS | _PHONEME_IPA
        )
        self._chunks: list[NDArray[np.int16]] = []
        self._events: list[tuple[float, str]] = []
        self._callback = _Callback(self._receive)  # kept: the library calls it later
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if count > 0 and samples:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != _EVENT_LIST_TERMINATED:
            event = events[index]
            if event.type == _EVENT_PHONEME:
                symbol = bytes(event.id.string).split(b"\0")[0].decode("utf-8", "ignore")
                self._events.append((event.sample / self.rate, symbol))
            index += 1
        return 0

    def speak(self, text: str, voice: str, rate: int, pitch: int, pitch_range: int) -> Spoken | None:
        """Samples and (start in seconds, IPA) of each phone, or None if there is no such voice."""
        if self._library.espeak_SetVoiceByName(voice.encode()):
            return None
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._chunks, self._events = [], []
        data = text.encode() + b"\0"
        self._library.espeak_Synth(data, len(data), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
        self._library.espeak_Synchronize()
        return np.concatenate([np.zeros(0, np.int16), *self._chunks]), self._events


def main(requests: str, out: str) -> None:
    """Speak a batch of requests; see the module's text."""
    espeak = Espeak()
    arrays: dict[str, Any] = {"rate": np.int64(espeak.rate)}
    for index, request in enumerate(json.loads(Path(requests).read_text(encoding="utf-8"))):
        spoken = espeak.speak(request["text"], request["voice"], request["rate"], request["pitch"], request["range"])
        if spoken is not None:
            arrays[f"samples{index}"], events = spoken
            arrays[f"events{index}"] = np.array(json.dumps(events))
    np.savez(out, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
