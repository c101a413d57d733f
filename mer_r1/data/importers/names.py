"""The names under which people keep the fields of a manifest, in the order in which a guess takes them.

A column is compared in normal form: `ClipID`, "clip id" and `clip-id` are clip_id. Of one line of names a table may
hold one; two of them are ambiguous, and the user says which.
"""

from __future__ import annotations

import re
import unicodedata

NAMES: dict[str, tuple[str, ...]] = {
    "id": (
        "id clip_id sample_id uid 编号",
        "name clip clip_name video_name filename file_name file segment segment_id utterance_id utt_id video_id key "
        "nom dateiname datei fichier 名称 文件名",
    ),
    "video": (
        "video video_path video_file videos clip_path 视频",
        "path file_path filepath source_path pfad chemin 路径",
    ),
    "audio": ("audio audio_path audio_file audios wav wav_path sound speech_path 音频",),
    "image": ("image image_path image_file images picture photo img frame bild 图片",),
    "subtitle": (
        "subtitle subtitles transcript transcription text utterance sentence asr untertitel transkript "
        "transkription satz texte sous_titre phrase 字幕 文本 台词",
    ),
    "labels": (
        "labels emotions label emotion emotion_label emotion_labels gold_label openset ov_labels emo emotionen gefuehl "
        "gefühl gefühle émotion émotions 标签 情感 情绪",
        "ground_truth_label pseu_emotion discrete class category classe klasse kategorie 类别",
    ),
    "valence": ("valence val valenz 效价", "sentiment_score sentiment sentiment_value polarity"),
    "reasoning": (
        "reasoning rationale explanation cot think 推理",
        "reason smp_reason_caption final_summary begründung raisonnement explication",
    ),
    "cluster": (
        "cluster",
        "speaker speaker_id speaker_name spk spk_id actor actor_id subject subject_id participant participant_id "
        "sprecher locuteur locutrice 说话人",
        "dialogue_id dialog_id dialogue dialog conversation_id film movie video_id",
    ),
    "source": ("source",),
    "candidates": ("candidates",),
}
"""Field of a manifest -> lines of names."""

_EMOTIONS = (
    "admiration amusement anger angry annoyance anticipation anxiety anxious approval awe bored boredom calm "
    "caring confusion contempt contentment curiosity desire disappointment disapproval disgust disgusted "
    "embarrassment excited excitement fear fearful frustrated frustration gratitude grief guilt happiness happy "
    "hate hurt joy love nervousness neutral optimism pride realization relief remorse sad sadness shame surprise "
    "surprised trust worried worry ärger angst ekel freude trauer überraschung wut neutralität colère dégoût joie "
    "peur tristesse neutre 愤怒 高兴 开心 悲伤 惊讶 恐惧 厌恶 中性"
)
EMOTIONS = frozenset(_EMOTIONS.split())
"""For one-hot columns: the words of the sets that are annotated most."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_BETWEEN = re.compile(r"[\s\-./:]+")


def normal_name(column: str) -> str:
    """The normal form of a column's name."""
    spaced = _CAMEL.sub("_", unicodedata.normalize("NFC", column).strip())
    return re.sub("_+", "_", _BETWEEN.sub("_", spaced)).strip("_").casefold()
