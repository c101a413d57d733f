"""Hostile and broken files: one clear error, bounded memory, and no reference is ever followed."""

import http.server
import os
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mer_r1.errors import InputError
from mer_r1.media import MediaBudget, decode_file
from mer_r1.media.formats import demuxer_of
from tests.media.make_media import (
    gray_frames,
    png_declaring,
    tone,
    with_declared_seconds,
    with_packets_of,
    write_image,
    write_media,
)

FOUR = MediaBudget(num_frames=4, fps=None)


def refusal(path: Path, budget: MediaBudget = FOUR) -> str:
    """The one line with which a file is refused, which names it."""
    with pytest.raises(InputError) as caught:
        decode_file(path, budget)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_missing_empty_text_and_directory_say_what_to_do(tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.write_bytes(b"")
    text.write_text("this is no film " * 100)
    assert "no such file; correct the path" in refusal(tmp_path / "nope.mp4")
    assert "is empty" in refusal(empty)
    assert "is not a media file that is read; give one of mp4" in refusal(text)
    assert "is a directory" in refusal(tmp_path)


def test_a_pipe_and_a_device_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "not a regular file" in refusal(tmp_path / "pipe.mp4")
    assert "not a regular file" in refusal(Path("/dev/zero"))


@pytest.mark.parametrize("keep", [1, 8, 40, 0.3, 0.6, 0.9])
def test_an_mp4_cut_short_is_refused_wherever_it_is_cut(clip_mp4: Path, tmp_path: Path, keep: float) -> None:
    data = clip_mp4.read_bytes()  # its index is at the end
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: int(keep if keep >= 1 else keep * len(data))])
    refusal(cut)


def test_a_cut_file_is_used_while_every_wanted_frame_is_there_and_refused_after(
    noise_mp4: Path, tmp_path: Path
) -> None:
    data = noise_mp4.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) // 2])
    assert re.search(r"cannot be decoded after 0\.\d+ s|pictures end at 0\.\d+ s", refusal(cut))
    early = decode_file(cut, MediaBudget(num_frames=2, fps=None, max_video_s=0.25), sound=False)
    assert early.facts.frame_times_s == (0.0, 0.125)
    cut.write_bytes(data[:-50])
    assert len(decode_file(cut, FOUR).facts.frame_times_s) == 4


def test_one_frame_left_of_many_is_no_clip_of_one_frame(noise_mp4: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mkv"
    data = write_media(cut, frames=gray_frames(12), video_codec="ffv1", video_options={"g": "1"}).read_bytes()
    second = data.index(b"\xa3", data.index(b"\xa3", data.index(b"\x1f\x43\xb6\x75")) + 200)
    cut.write_bytes(data[:second])
    assert "pictures end at" in refusal(cut, MediaBudget(num_frames=32, fps=None))


@pytest.mark.parametrize(("name", "codec"), [("cut.mkv", "libx264"), ("cut.flv", "flv"), ("cut.avi", "mpeg4")])
def test_other_containers_cut_short_are_refused(tmp_path: Path, name: str, codec: str) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (96, 96, 3), dtype=np.uint8) for _ in range(48)]
    path = write_media(tmp_path / name, frames=frames, video_codec=codec)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "its pictures end at" in refusal(path)


@pytest.mark.parametrize(("name", "mark"), [("cut.mkv", b"\xa3"), ("cut.avi", b"00dc")])
def test_a_file_that_ends_between_two_packets_is_refused(tmp_path: Path, name: str, mark: bytes) -> None:
    path = write_media(tmp_path / name, frames=gray_frames(12) * 4, video_codec="ffv1", video_options={"g": "1"})
    data = path.read_bytes()
    path.write_bytes(data[: data.index(mark, len(data) // 2)])
    assert "its pictures end at" in refusal(path)


def test_damage_in_the_middle_is_refused(noise_mp4: Path, tmp_path: Path) -> None:
    data = bytearray(noise_mp4.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = np.random.default_rng(0).bytes(400)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(bytes(data))
    assert re.search("cannot be decoded after|is damaged", refusal(path))


def test_damage_spreads_until_the_next_key_frame(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 255, (96, 96, 3), dtype=np.uint8) for _ in range(12)]
    path = write_media(tmp_path / "a.avi", frames=frames, video_codec="mpeg4", video_options={"g": "6"})
    data = bytearray(path.read_bytes())
    at = data.index(b"00dc") + len(data) // 6  # inside the second or third frame
    data[at : at + 64] = rng.bytes(64)
    path.write_bytes(bytes(data))
    assert "is damaged" in refusal(path, MediaBudget(num_frames=12, fps=None))


def test_an_mp4_header_that_claims_ages_costs_nothing(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", frames=gray_frames(12), sound=tone(1.5, 16_000))
    clip = decode_file(with_declared_seconds(path, 10**9), FOUR)
    assert clip.facts.video_s == 1.5  # FFmpeg trusts the table of frames before the header


def test_no_frames_at_all_is_refused(tmp_path: Path) -> None:
    header = write_media(tmp_path / "a.gif", frames=[gray_frames(1)[0][..., 0]], pixels="gray", video_codec="gif",
                         pix_fmt="gray").read_bytes()  # fmt: skip
    path = tmp_path / "none.gif"
    path.write_bytes(header[:13] + b"\x3b")
    refusal(path)


BOMBS = """
import resource, sys
from pathlib import Path
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget, decode_file
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
for name in sys.argv[1:]:
    try:
        decode_file(Path(name), MediaBudget(), pictures="none" if name.endswith("wav") else "video")
    except InputError:
        continue
    raise SystemExit(name + " was decoded")
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) // 1024)  # ru_maxrss would begin at the parent's peak
"""


@pytest.mark.slow
def test_bombs_cost_little_memory(tmp_path: Path, clip_mp4: Path) -> None:
    jpg = write_image(tmp_path / "bomb.jpg", np.zeros((16, 16, 3), np.uint8))
    data = bytearray(jpg.read_bytes())
    frame_header = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, frame_header + 5, 65_500, 65_500)
    jpg.write_bytes(bytes(data))
    gif = tmp_path / "bomb.gif"
    gif.write_bytes(b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b"\x2c" + bytes(4)
                    + struct.pack("<HHB", 65_535, 65_535, 0) + b"\x02\x02\x44\x01\x00\x3b")  # fmt: skip
    index = tmp_path / "index.mp4"
    table = bytearray(clip_mp4.read_bytes())
    struct.pack_into(">II", table, table.index(b"stsz") + 8, 1, 20_000_000)
    struct.pack_into(">I", table, table.index(b"stsc") + 16, 20_000_000)
    index.write_bytes(bytes(table))
    slow = write_media(tmp_path / "slow.wav", sound=tone(3.0, 16_000), audio_codec="pcm_s16le", audio_format="s16")
    wave = bytearray(slow.read_bytes())
    struct.pack_into("<I", wave, 24, 1)  # one sample a second: a day of sound
    slow.write_bytes(bytes(wave))
    pngs = [png_declaring(tmp_path / f"{side}.png", side, side) for side in (50_000, 40_000, 15_000, 8_200)]
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, *map(str, [*pngs, jpg, gif, index, slow])],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stderr == ""
    assert int(done.stdout) < 150


def test_a_source_frame_over_the_limit_is_refused_by_size(clip_mp4: Path) -> None:
    budget = MediaBudget(num_frames=4, fps=None, max_source_pixels=96 * 96 - 1)
    assert re.search("96 x 96 pixels, more than 9215 .*; shrink it|within 9215 pixels", refusal(clip_mp4, budget))


def test_limits_on_frames_and_seconds_of_decoding_are_kept(clip_mp4: Path) -> None:
    many = refusal(clip_mp4, MediaBudget(num_frames=4, fps=None, max_decoded_frames=6))
    assert re.search("more than 6 frames .*; shorten the video, or re-encode it", many)
    slow = refusal(clip_mp4, MediaBudget(num_frames=4, fps=None, max_decode_s=1e-9))
    assert "takes longer than 1e-09 s to decode; shorten it, or re-encode it" in slow


@pytest.mark.parametrize(
    "name", ["%d.png", "%03d.png", "face_*.png", "a:b.png", "file:c.png", "héé 表情.png", "-i.png"]
)
def test_odd_names_are_names_and_no_patterns(tmp_path: Path, name: str) -> None:
    path = write_image(tmp_path / name, np.full((56, 56, 3), 80, np.uint8))
    assert decode_file(path, FOUR, pictures="image").facts.size == (56, 56)


def test_a_relative_name_like_a_url_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:").mkdir()
    write_image(tmp_path / "http:" / "x.png", np.full((56, 56, 3), 80, np.uint8))
    assert decode_file(Path("http://x.png"), FOUR, pictures="image").facts.size == (56, 56)
    assert "no such file" in refusal(Path("concat:a.mp4|b.mp4"))
    assert "no such file" in refusal(Path("data:image/png;base64,AAAA"))


@pytest.fixture
def visited() -> Iterator[tuple[str, list[str]]]:
    """A web server on this machine, and the list of what it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("suffix", ["m3u8", "mp4", "sdp", "mpd", "mp3", "txt"])
def test_no_playlist_or_script_is_followed(
    tmp_path: Path, clip_mp4: Path, visited: tuple[str, list[str]], suffix: str
) -> None:
    url, asked = visited
    scripts = [
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}/x.ts\n#EXT-X-ENDLIST\n",
        f"#EXTM3U\n#EXTINF:1,\nfile://{clip_mp4}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{clip_mp4}'\n",
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=control:{url}\n",
        f"<?xml version='1.0'?><MPD><BaseURL>{url}/</BaseURL></MPD>",
        ";FFMETADATA1\ntitle=x\n",
    ]
    for number, script in enumerate(scripts):
        path = tmp_path / f"{number}.{suffix}"
        path.write_text(script)
        assert "is not a media file that is read" in refusal(path)
    assert asked == []


def test_the_name_decides_nothing(tmp_path: Path, clip_mp4: Path) -> None:
    for name in ("clip.png", "clip.m3u8", "clip.wav", "clip"):
        path = tmp_path / name
        path.write_bytes(clip_mp4.read_bytes())
        assert decode_file(path, FOUR).facts.video_s == 1.5


def test_an_mp3_behind_an_id3_tag_is_known(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp3", sound=tone(0.5, 16_000), audio_codec="libmp3lame")
    data = path.read_bytes()
    assert data[:3] == b"ID3"
    assert demuxer_of(path) == "mp3"
    path.write_bytes(data[data.index(b"\xff\xf3") :])
    assert demuxer_of(path) == "mp3"


@pytest.mark.parametrize(("before", "behind", "cut"), [(4, 0, 0), (0, 16, 0), (0, 0, 100), (4, 0, 150)])
def test_mpeg_ts_in_packets_of_any_size_and_from_any_byte_on_is_known(
    tmp_path: Path, before: int, behind: int, cut: int
) -> None:
    path = write_media(tmp_path / "a.ts", frames=gray_frames(12), sound=tone(1.5, 16_000))
    data = with_packets_of(path, before, behind).read_bytes()
    path.write_bytes(data[cut:])
    assert demuxer_of(path) == "mpegts"
    clip = decode_file(path, FOUR)
    assert clip.facts.video_s == pytest.approx(1.5, abs=0.05)
    assert clip.waveform_N is not None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_gives_a_clip_or_one_input_error(clip_mp4: Path, tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(clip_mp4.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at : at + 8] = data.draw(st.binary(min_size=8, max_size=8))
    path = tmp_path / "fuzz.mp4"
    path.write_bytes(bytes(whole[: data.draw(st.integers(1, len(whole)))]) if data.draw(st.booleans()) else whole)
    try:
        clip = decode_file(path, FOUR)
    except InputError as error:
        message = str(error)
    else:
        assert clip.frames_THWC is not None
        message = f"{path}: {len(clip.frames_THWC)} frames"
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


def test_ffmpeg_prints_nothing(noise_mp4: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(noise_mp4.read_bytes()[:9000])
    refusal(cut)
    assert capfd.readouterr() == ("", "")
