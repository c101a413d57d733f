// The samples as columns, the chunks with the long texts, and elements made of text. What comes from a file becomes a
// text node or an attribute value, never markup.

const SIGNS = { r: '✓', p: '◐', w: '✗', u: '·', n: '·', '-': '–' };
const VERDICTS = { r: 'right', p: 'right in some wheels', w: 'wrong', u: 'not judged: no wheel knows it and a gold word' };
const STATES = { r: 'right', p: 'partly right', w: 'wrong', n: 'not judged', '-': 'no answer' };
const STATUSES = { t: 'cut off', n: 'no emotion word', e: 'failed', '-': 'not asked' };
const GLYPHS = { video: '▶', audio: '♪', image: '▣', text: '“' };
const PARTS = { v: 'video', i: 'image', a: 'audio file', s: 'subtitle' };
const MODES = ['fast', 'slow'];
const CHUNKS_KEPT = 8;

let data = null;
const chunks = new Map(); // number -> promise of its samples, the last used one last

function byId(name) {
  return document.getElementById('sb-' + name);
}

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// A text whose direction and control marks do not reach its surroundings.
function isolated(text, attributes) {
  return element('bdi', attributes, String(text ?? ''));
}

function readIndex() {
  const holder = document.getElementById('samples-index');
  return holder ? JSON.parse(holder.textContent) : null;
}

function answerKeys() {
  const keys = data.systems.flatMap((_, system) => MODES.map((mode) => system + '.' + mode));
  return keys.filter((key) => key in data.answers);
}

function systemOf(key) {
  return Number(key.split('.')[0]);
}

function modeOf(key) {
  return key.split('.')[1];
}

function titleOf(key) {
  return data.systems[systemOf(key)].title + ' · ' + modeOf(key);
}

function colourOf(system) {
  return 'var(--system-' + Number(data.systems[system].colour) + ', var(--muted))';
}

function wordsOf(indexes) {
  return indexes.map((index) => data.words[index]);
}

// An identity that a link can name: the id, and the set where there are several.
function keyOf(i) {
  return data.sets.length > 1 ? data.sets[data.set[i]] + '/' + data.id[i] : String(data.id[i]);
}

function readChunk(number) {
  const known = chunks.get(number) ?? decodeChunk(number);
  chunks.delete(number);
  chunks.set(number, known);
  if (chunks.size > CHUNKS_KEPT) chunks.delete(chunks.keys().next().value);
  return known;
}

async function decodeChunk(number) {
  if (typeof DecompressionStream !== 'function') {
    throw new Error('This browser cannot unpack the reasoning; one of 2023 or later can.');
  }
  const holder = document.getElementById('chunk-' + number);
  if (!holder) throw new Error('This page holds no reasoning of this sample.');
  const packed = Uint8Array.from(atob(holder.textContent.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
  return JSON.parse(await new Response(stream).text());
}

async function readTexts(i) {
  const samples = await readChunk(Math.floor(i / data.chunk_size));
  return samples[i % data.chunk_size] ?? {};
}
