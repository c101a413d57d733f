"""Media files -> frames, a 16 kHz mono waveform, and the facts of what was taken.

The packets are read once for their times (`lengths.py`), then decoded in one pass, in bounded memory: the frame being
shown at each wanted time (`budget.frame_times`) is resized at once and kept, every other frame is dropped, and reading
stops when all is there.

Frames and sound stand at the times of what was decoded, on one clock. Time zero is the video's start, or the sound's
where that is over 0.1 s earlier, so that face and voice stay together.

A wrong file is one InputError with the file's name; docs/media.md lists what is refused and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from mer_r1.data.sample import Clip, MediaFacts, Sample
from mer_r1.errors import InputError
from mer_r1.media.budget import MediaBudget, frame_times
from mer_r1.media.formats import FIX, STILL_DEMUXERS, demuxer_of, open_media
from mer_r1.media.lengths import Deadline, Span, by_place, read_spans, timed_packets
from mer_r1.media.orientation import Turn, still_turn
from mer_r1.media.photos import Photograph, open_photograph
from mer_r1.media.pictures import PictureTaker, VideoTrack
from mer_r1.media.sound import SoundTrack
from mer_r1.media.streams import choose_streams, films
from mer_r1.media.whole import check_whole

GAPS = "sound with gaps, which silence fills"
_LIP_SYNC_S = 0.1


def read_clip(sample: Sample, budget: MediaBudget) -> Clip:
    """The media of one sample, decoded under `budget`.

    * `video`: frames; and its own sound track when the sample has no `audio`. No track is normal: waveform None.
    * `audio`: the sound of that file, whatever else is in it.
    * `image`: one frame, the first of the file.
    * none of them: an empty Clip (a subtitle alone).

    `frames_THWC` is uint8 (T, H, W, 3), `waveform_N` float32 (N,) in [-1, 1] at 16 kHz.
    Raises InputError that names the file and the fix: a file that cannot be used, `video` without pictures, `audio`
    without sound, `video` and `image` both.
    """
    if sample.video is not None and sample.image is not None:
        raise InputError(f"sample {sample.id}: has both 'video' and 'image'; give one of the two")
    clip = Clip(None, None, MediaFacts())
    if sample.video is not None:
        clip = decode_file(sample.video, budget, sound=sample.audio is None)
    elif sample.image is not None:
        clip = decode_file(sample.image, budget, pictures="image", sound=False)
    if sample.audio is None:
        return clip
    voice = decode_file(sample.audio, budget, pictures="none")
    assert voice.facts.decoder is not None, "a file that was decoded names its decoder"
    codec = voice.facts.decoder.split(", ", 1)[1]
    facts = replace(
        clip.facts,
        audio_s=voice.facts.audio_s,
        audio_taken_s=voice.facts.audio_taken_s,
        audio_gap_s=voice.facts.audio_gap_s,
        decoder=f"{clip.facts.decoder} + {codec}" if clip.facts.decoder else voice.facts.decoder,
        notices=clip.facts.notices + voice.facts.notices,
    )
    return Clip(clip.frames_THWC, voice.waveform_N, facts)


def decode_file(
    path: Path, budget: MediaBudget, *, pictures: Literal["video", "image", "none"] = "video", sound: bool = True
) -> Clip:
    """What one file holds.

    `pictures`: "video" takes frames at the budget's times (a still image is one frame), "image" the first frame alone,
    "none" nothing. Pictures that are asked for must be there. `sound` that is asked for must be there only with
    pictures="none". Cover art of a sound file is no picture.
    Raises InputError for any file that does not give this, see `read_clip`.
    """
    path = Path(path)
    deadline = Deadline(path, budget)
    if pictures != "none":
        demuxer = demuxer_of(path)
        photograph = open_photograph(path, demuxer, budget, deadline)
        if photograph is not None:
            return _photo_clip(path, photograph, budget)
        check_whole(path, demuxer)
    with open_media(path, budget) as container:
        shown, heard, notices = choose_streams(path, container, budget, video=pictures != "none", sound=sound)
        still = pictures == "image" or container.format.name in STILL_DEMUXERS
        timed = [stream.index for stream in (None if still else shown, heard) if stream is not None]
        spans = read_spans(path, budget, timed, deadline) if timed else {}
        zero_s = clip_zero_s(spans, shown, heard)
        video = None
        if shown is not None:
            if not still and shown.index not in spans:
                raise InputError(f"{path}: holds no picture that can be decoded; {FIX}")
            seconds = None if still or zero_s is None else spans[shown.index].whole_end_s - zero_s
            times = (0.0,) if seconds is None else frame_times(seconds, budget)
            turn = None
            if container.format.name in STILL_DEMUXERS:
                turn = still_turn(path, container.format.name)
            elif shown.codec_context.name in ("png", "apng"):
                turn = Turn()  # its frames cannot be asked, see `still_turn`
            taker = PictureTaker(path, times, budget, shown.sample_aspect_ratio, turn)
            start_s, places = None if still else zero_s, by_place(container)
            video = VideoTrack(path, shown, taker, budget, zero_s=start_s, seconds=seconds, by_place=places)
        voice = SoundTrack(path, heard, budget, spans.get(heard.index), zero_s or 0.0) if heard is not None else None
        _read(container, video, voice, deadline)
        clip = _clip(video, voice)
        if clip.frames_THWC is None and clip.waveform_N is None:
            raise InputError(f"{path}: its sound track is empty; give a file with sound, or leave 'audio' out")
        if clip.facts.audio_gap_s:
            notices += (GAPS,)
        return replace(clip, facts=replace(clip.facts, notices=notices))


def _photo_clip(path: Path, photograph: Photograph, budget: MediaBudget) -> Clip:
    taker = PictureTaker(path, (0.0,), budget, turn=photograph.turn)
    taker.feed(photograph.frame, 0.0)
    taker.finish(0.0)
    facts = MediaFacts((0.0,), size=taker.source_size, taken_size=taker.taken_size, decoder=photograph.decoder)
    return Clip(np.stack(taker.pictures), None, facts)


def holds_sound_alone(path: Path) -> bool:
    """Whether a file can be opened and has sound but no pictures, whatever its name says; cover art is no picture."""
    try:
        with open_media(path, MediaBudget()) as container:
            return bool(container.streams.audio) and not films(container)
    except InputError:
        return False


def clip_zero_s(spans: Mapping[int, Span], shown: VideoStream | None, heard: AudioStream | None) -> float | None:
    """The clip's time zero on the file's clock; None where nothing has a time."""
    starts_s = []
    if shown is not None and shown.index in spans:
        starts_s.append(spans[shown.index].start_s)
    if heard is not None and heard.index in spans:
        sound_s = spans[heard.index].start_s
        if heard.start_time is not None and heard.time_base is not None:
            # FFmpeg counts from behind the samples that a codec needs to get going, and that no decoder hands out.
            sound_s = max(sound_s, float(heard.start_time * heard.time_base))
        starts_s.append(sound_s)
    if len(starts_s) == 2 and abs(starts_s[0] - starts_s[1]) >= _LIP_SYNC_S:
        return min(starts_s)
    return starts_s[0] if starts_s else None


def _read(container: InputContainer, video: VideoTrack | None, voice: SoundTrack | None, deadline: Deadline) -> None:
    """Feed both tracks from one pass over the packets, and stop as soon as neither wants more."""
    tracks = {track.stream.index: track for track in (video, voice) if track is not None}
    for packet in timed_packets(container, [track.stream for track in tracks.values()]):
        # The empty packets that flush the decoders at the end name their stream here alone.
        track = tracks[packet.stream.index]
        if not track.done:
            track.read(packet)
        if all(item.done for item in tracks.values()):
            break
        deadline.check()
    for track in tracks.values():
        track.finish()


def _clip(video: VideoTrack | None, voice: SoundTrack | None) -> Clip:
    waveform_N = voice.waveform() if voice is not None else None
    streams: list[Stream] = [track.stream for track in (video, voice) if track is not None]
    codecs = " + ".join(stream.codec_context.name for stream in streams)
    facts = MediaFacts(decoder=f"PyAV {av.__version__}, {codecs}")
    frames_THWC = None
    if video is not None:
        frames_THWC = np.stack(video.taker.pictures)
        facts = replace(
            facts,
            frame_times_s=tuple(video.taker.shown_s),
            video_s=video.seconds,
            size=video.taker.source_size,
            taken_size=video.taker.taken_size,
        )
    if voice is not None and waveform_N is not None:
        facts = replace(facts, audio_s=voice.seconds, audio_taken_s=voice.taken_s, audio_gap_s=voice.gap_s)
    return Clip(frames_THWC, waveform_N, facts)
