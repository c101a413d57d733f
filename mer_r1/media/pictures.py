"""From a decoder's frames to the frames that are taken: the right one at each wanted time, upright, opaque, resized.

Shape letters: T frames, H x W pixels, C = 3 colours (RGB).
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Stream
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mer_r1.errors import InputError
from mer_r1.media.budget import MediaBudget, target_size
from mer_r1.media.formats import FIX
from mer_r1.media.gif import frame_is_whole
from mer_r1.media.orientation import Turn, frame_turn

Picture = NDArray[np.uint8]

_BLEND_ROWS = 256
_GRACE_S = 0.25
_THREADED_PIXELS = 1280 * 720
_MOST_REORDERED = 16  # frames that a codec may hold back
# The decoders of these begin anywhere, on gray. Those of other codecs wait for a frame that stands alone.
_BEGIN_ANYWHERE = frozenset(
    ("mpeg4", "msmpeg4v1", "msmpeg4v2", "msmpeg4", "wmv1", "wmv2", "h263", "h263i", "h263p", "flv", "rv10", "rv20")
)


class PictureTaker:
    """Keeps, of frames fed in order of time, the one being shown at each wanted time.

    The frame shown at t is the last one whose time is <= t; before the first frame it is the first. The last frame
    is shown for its own duration, or for the longest gap seen before it, whichever is longer, plus 0.25 s.
    `pictures` and `shown_s` may be taken away by `drain` as they come, so that a long video needs no memory for all.
    `aspect` is width / height of a stored pixel; `turn` sets frames upright, None asks each frame.
    """

    def __init__(
        self,
        path: Path,
        times_s: tuple[float, ...],
        budget: MediaBudget,
        aspect: Fraction | None = None,
        turn: Turn | None = None,
    ) -> None:
        self._path = path
        self._wanted_s = times_s
        self._turn = turn
        self._aspect = float(aspect) if aspect and Fraction(1, 4) <= aspect <= 4 else 1.0
        self._budget = budget
        self._reformatter = VideoReformatter()
        self._shown: av.VideoFrame | None = None
        self._shown_s = 0.0
        self._longest_s = 0.0
        self._num_fed = 0
        # Damage spreads to every frame predicted from a damaged one, until the next key frame.
        self._damaged = False
        self._num_taken = 0
        self._last: tuple[float, Picture] | None = None
        self.pictures: list[Picture] = []
        self.shown_s: list[float] = []
        self.source_size: tuple[int, int] | None = None
        self.taken_size: tuple[int, int] | None = None

    @property
    def done(self) -> bool:
        """Every wanted time has its picture."""
        return self._num_taken == len(self._wanted_s)

    @property
    def started(self) -> bool:
        """A frame has been fed."""
        return self._shown is not None

    def feed(self, frame: av.VideoFrame, time_s: float, *, is_part: bool = False, lacks_start: bool = False) -> None:
        """The next frame in order of presentation, and its time in seconds from the clip's start.

        `is_part`: rows of it are missing, whatever its decoder says. `lacks_start`: it is predicted from frames before
        the start of the file; it counts as decoded and is passed over.
        """
        self._num_fed += 1
        if self._num_fed > self._budget.max_decoded_frames:
            raise InputError(
                f"{self._path}: more than {self._budget.max_decoded_frames} frames are decoded to find the wanted "
                "ones; shorten the video, or re-encode it with fewer frames a second"
            )
        if lacks_start:
            return
        if self._shown is not None:
            time_s = max(time_s, self._shown_s)
            while not self.done and self._wanted_s[self._num_taken] < time_s:
                self._take()
            self._longest_s = max(self._longest_s, time_s - self._shown_s)
        self._damaged = is_part or frame.is_corrupt or (self._damaged and not frame.key_frame)
        self._shown, self._shown_s = frame, time_s

    def finish(self, frame_s: float) -> None:
        """No frame follows: the last one serves the wanted times that it still covers, `frame_s` being its duration.

        Raises InputError where no frame came at all, or the frames end before a wanted time.
        """
        if self._shown is None:
            raise InputError(
                f"{self._path}: holds no picture that can be decoded within {self._budget.max_source_pixels} pixels; "
                "give a smaller one, or fetch or export it again"
            )
        end_s = self._shown_s + max(frame_s, self._longest_s)
        missing_s = [at_s for at_s in self._wanted_s[self._num_taken :] if at_s > end_s + _GRACE_S]
        if missing_s:
            raise InputError(
                f"{self._path}: its pictures end at {end_s:.2f} s, and one is wanted at {missing_s[0]:.2f} s; {FIX}"
            )
        if self._num_fed == 1:
            # A video of one frame: more than one multiple of it would only cost tokens.
            self._wanted_s = self._wanted_s[: self._budget.frames_multiple]
        while not self.done:
            self._take()

    def drain(self) -> list[tuple[float, Picture]]:
        """What was taken since the last call: presentation times and pictures, in the order of the wanted times."""
        taken = list(zip(self.shown_s, self.pictures, strict=True))
        self.pictures, self.shown_s = [], []
        return taken

    def _take(self) -> None:
        assert self._shown is not None
        if self._last is None or self._last[0] != self._shown_s:
            self._last = (self._shown_s, self._picture(self._shown))
        self.pictures.append(self._last[1])
        self.shown_s.append(self._shown_s)
        self._num_taken += 1

    def _picture(self, frame: av.VideoFrame) -> Picture:
        """uint8 H x W x 3 of one decoded frame, at the size that the first one set."""
        if self._damaged:
            raise InputError(f"{self._path}: the picture at {self._shown_s:.2f} s is damaged; {FIX}")
        turn = self._turn or frame_turn(frame)
        if self.taken_size is None:
            width, height = max(1, round(frame.width * self._aspect)), frame.height
            self.source_size = (height, width) if turn.swap else (width, height)
            self.taken_size = target_size(*self.source_size, self._budget)
        width, height = self.taken_size[::-1] if turn.swap else self.taken_size
        has_alpha = frame.format.has_palette or any(part.is_alpha for part in frame.format.components)
        source = _on_white(frame) if has_alpha else frame
        # One thread: libswscale's default starts a pool per clip, which costs more than a small frame.
        resized = self._reformatter.reformat(
            source, width, height, "rgb24", interpolation=Interpolation.BICUBIC, threads=1
        )
        pixels_HWC = cast(Picture, resized.to_ndarray())
        if turn.swap:
            pixels_HWC = pixels_HWC.transpose(1, 0, 2)
        return pixels_HWC[:: -1 if turn.flip_y else 1, :: -1 if turn.flip_x else 1]


def _on_white(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame over white, RGB, same size. Alpha applies before resizing, so that no hidden colour leaks."""
    rgba_HWC = cast(Picture, frame.reformat(format="rgba").to_ndarray())
    rgb_HWC = np.ascontiguousarray(rgba_HWC[..., :3])
    if rgba_HWC[..., 3].min() < 255:
        for top in range(0, len(rgb_HWC), _BLEND_ROWS):
            rows = slice(top, top + _BLEND_ROWS)
            alpha = rgba_HWC[rows, :, 3:].astype(np.uint32)
            rgb_HWC[rows] = (rgb_HWC[rows] * alpha + 255 * (255 - alpha) + 127) // 255
    return av.VideoFrame.from_ndarray(rgb_HWC, format="rgb24")


class VideoTrack:
    """Decodes the packets of one video stream into a `PictureTaker`.

    `zero_s` is the clip's time zero on the file's clock, None for the first frame's time; `seconds` the clip's length
    from there, None for a still.
    `by_place`: packets have a place in the file (their dts) and no time of presentation. A frame then takes the place
    of the packet at which the decoder hands it out, less the delay of the first frame: places without a packet and
    packets without a frame of their own (not coded) keep what follows at its time, with reordered frames too.
    """

    def __init__(
        self,
        path: Path,
        stream: VideoStream,
        taker: PictureTaker,
        budget: MediaBudget,
        *,
        zero_s: float | None = None,
        seconds: float | None = None,
        by_place: bool = False,
    ) -> None:
        self.stream = stream
        self.taker = taker
        self.seconds = seconds
        self._path = path
        self._zero_s = zero_s
        self._by_place = by_place
        self._first_dts: int | None = None
        self._lacks_start: bool | None = None
        self._delay: int | None = None
        self._at_s: float | None = None
        self._next_s = 0.0
        self._frame_s = 0.0
        self._max_pixels = budget.max_source_pixels
        self._base_s = float(stream.time_base or 0)
        self._usual_s = float(1 / stream.average_rate) if stream.average_rate else 0.0
        # `open_media` limits FFmpeg's own analysis of the file; the decoder needs the limit too.
        options = {"max_pixels": str(budget.max_source_pixels)}
        if seconds is None and stream.codec_context.name == "mjpeg":
            options["err_detect"] = "explode"  # else a jpg's damaged rows are handed out as a colour
        stream.codec_context.options = options
        # A codec's threads cost more than a small frame; the environment has no say.
        threaded = stream.width * stream.height >= _THREADED_PIXELS
        stream.codec_context.thread_count = 4 if threaded else 1
        stream.codec_context.thread_type = "AUTO" if threaded else "NONE"

    @property
    def done(self) -> bool:
        """No more packets are needed."""
        return self.taker.done

    def read(self, packet: av.Packet[Stream]) -> None:
        """Decode the next packet. One that fails before the first frame is passed over: a stream may start mid-way."""
        try:
            frames = self.stream.decode(packet)
        except FFmpegError as error:
            if not self.taker.started:
                return
            raise InputError(
                f"{self._path}: its pictures cannot be decoded after {self._next_s:.2f} s ({error.strerror}); {FIX}"
            ) from None
        if self._first_dts is None:
            self._first_dts = packet.dts
        if self._lacks_start is None:  # what an edit list leaves out is decoded, and what follows stands on it
            self._lacks_start = self.stream.codec_context.name in _BEGIN_ANYWHERE and not packet.is_discard
        for frame in frames:
            self._lacks_start = self._lacks_start and not frame.key_frame
            self.taker.feed(frame, self._time(frame), is_part=self._is_part(packet), lacks_start=self._lacks_start)
            if self.taker.done:
                return

    def finish(self) -> None:
        """No packet follows. Raises InputError where wanted pictures are missing."""
        self.taker.finish(self._frame_s)

    def _is_part(self, packet: av.Packet[Stream]) -> bool:
        """Whether a packet ends early, for the codecs that then fill the frame with a colour and say nothing."""
        if self.stream.codec_context.name == "gif":
            return not frame_is_whole(bytes(packet), self._max_pixels)
        return self.stream.codec_context.name == "mjpeg" and packet.is_corrupt

    def _time(self, frame: av.VideoFrame) -> float:
        """Seconds from the clip's start; a frame without a time follows the one before it."""
        if self._delay is None and frame.dts is not None and self._first_dts is not None:
            self._delay = frame.dts - self._first_dts
            if self._by_place:
                self._delay = min(self._delay, _MOST_REORDERED)
        stamp = None if self._by_place else frame.pts
        if stamp is None and frame.dts is not None:
            stamp = frame.dts - (self._delay or 0)
        self._frame_s = frame.duration * self._base_s or self._usual_s
        if stamp is not None and self._zero_s is None:
            self._zero_s = stamp * self._base_s
        at_s = self._next_s if stamp is None else stamp * self._base_s - (self._zero_s or 0.0)
        if self._by_place and self._at_s is not None:
            self._frame_s = max(self._frame_s, at_s - self._at_s)  # the last frames leave the decoder without a place
        self._at_s, self._next_s = at_s, at_s + self._frame_s
        return at_s
