// What is shown: the view (filters, the two answers compared, the open sample) and the samples that pass it.

const MEDIA = ['v', 'i', 'a', 's', '-v', '-i', '-a', '-s'];
const PAIRINGS = { differ: 'differ', 'w-r': 'A wrong, B right', 'r-w': 'A right, B wrong' };
const CHOICES = ['q', 'deep', 'kind', 'set', 'category', 'medium', 'note', 'aIs', 'bIs', 'ab']; // what "clear all" clears

let defaults = null;
let view = null;
let matches = [];
let lowered = null; // per sample its id and subtitle in small letters
let loweredWords = null;
const deepTexts = []; // per sample its reasoning in small letters, as far as it is read

function defaultView() {
  const keys = answerKeys();
  const [first, second] = data.pair ?? [0, Math.min(1, data.systems.length - 1)];
  const wanted = first === second ? [first + '.fast', second + '.slow'] : [first + '.slow', second + '.slow'];
  const [a, b] = wanted.map((key, place) => (keys.includes(key) ? key : keys[Math.min(place, keys.length - 1)] ?? ''));
  return { q: '', deep: '', kind: '', set: '', category: '', medium: '', note: '', a, aIs: '', b, bIs: '', ab: '', wheel: '0', open: '' };
}

// The values that each part of a view may take; anything else in a link is ignored.
function allowedValues() {
  return {
    deep: ['1'],
    kind: data.kinds.map((kind) => kind.key),
    set: data.sets,
    category: data.wheels[0]?.categories ?? [],
    medium: MEDIA,
    a: answerKeys(),
    b: answerKeys(),
    aIs: Object.keys(STATES),
    bIs: Object.keys(STATES),
    ab: Object.keys(PAIRINGS),
    wheel: Object.keys(data.wheels),
  };
}

function viewOfHash(hash) {
  const found = { ...defaults };
  const allowed = allowedValues();
  for (const [name, value] of new URLSearchParams(hash.replace(/^#samples\??/, ''))) {
    if (name in found && (!(name in allowed) || allowed[name].includes(value))) found[name] = value;
  }
  return found;
}

function hashOfView() {
  const changed = Object.entries(view).filter(([name, value]) => value !== defaults[name]);
  return '#samples' + (changed.length ? '?' + new URLSearchParams(changed) : '');
}

function stateOf(key, i) {
  return data.answers[key]?.state[i] ?? '-';
}

function kindPlace(key) {
  return data.kinds.findIndex((kind) => kind.key === key);
}

function activeTests() {
  const tests = [];
  const bit = 1 << kindPlace(view.kind);
  const category = data.wheels[0]?.categories.indexOf(view.category);
  const set = data.sets.indexOf(view.set);
  const letter = view.medium.replace('-', '');
  const wanted = !view.medium.startsWith('-');
  if (view.kind) tests.push((i) => (data.case[i] & bit) !== 0);
  if (view.set) tests.push((i) => data.set[i] === set);
  if (view.category) tests.push((i) => data.category[i].includes(category));
  if (view.medium) tests.push((i) => data.has[i].includes(letter) === wanted);
  if (view.note) tests.push(noteTest(view.note));
  if (view.aIs) tests.push((i) => stateOf(view.a, i) === view.aIs);
  if (view.bIs) tests.push((i) => stateOf(view.b, i) === view.bIs);
  if (view.ab === 'differ') tests.push((i) => stateOf(view.a, i) !== stateOf(view.b, i));
  else if (view.ab) tests.push((i) => stateOf(view.a, i) + '-' + stateOf(view.b, i) === view.ab);
  return [...tests, ...searchTests()];
}

// Each term must be somewhere in the sample: its id, subtitle, gold words, any answer's words, its note or, if asked,
// reasoning.
function searchTests() {
  const terms = view.q.toLowerCase().split(/\s+/).filter(Boolean);
  if (!terms.length) return [];
  lowered ??= data.id.map((id, i) => (id + '\n' + (data.subtitle[i] ?? '')).toLowerCase());
  loweredWords ??= data.words.map((word) => word.toLowerCase());
  return terms.map(searchTest);
}

function searchTest(term) {
  const hits = loweredWords.map((word) => word.includes(term));
  const columns = hits.includes(true) ? [data.gold, ...Object.values(data.answers).map((answer) => answer.words)] : [];
  const deep = view.deep !== '';
  return (i) => {
    if (lowered[i].includes(term)) return true;
    for (const column of columns) {
      for (const word of column[i] ?? []) if (hits[word]) return true;
    }
    if (hasNote(i) && (noteOf(i).note + '\n' + noteOf(i).tags).toLowerCase().includes(term)) return true;
    return deep && deepTexts[i] !== undefined && deepTexts[i].includes(term);
  };
}

function strengthOf(i, place) {
  let before = 0;
  for (let kind = 0; kind < place; kind += 1) before += (data.case[i] >> kind) & 1;
  return data.strength[i]?.[before] ?? 0;
}

// The samples that pass, in the manifest's order, or the strongest first where a kind of case is chosen.
function findMatches() {
  const tests = activeTests();
  const found = [];
  for (let i = 0; i < data.num; i += 1) {
    if (tests.every((test) => test(i))) found.push(i);
  }
  if (!view.kind) return found;
  const place = kindPlace(view.kind);
  const strength = new Map(found.map((i) => [i, strengthOf(i, place)]));
  return found.sort((one, other) => strength.get(other) - strength.get(one) || one - other);
}

function isFiltered() {
  return CHOICES.some((name) => view[name] !== defaults[name]);
}

// Reads all reasoning for the search while the reader does other things; stops when it is no longer wanted.
async function readDeepTexts(onProgress) {
  const numChunks = Math.ceil(data.num / data.chunk_size);
  for (let number = 0; number < numChunks; number += 1) {
    if (deepTexts[number * data.chunk_size] !== undefined) continue;
    await idle();
    if (!view.deep) return;
    const samples = await decodeChunk(number);
    samples.forEach((sample, place) => {
      const texts = [...Object.values(sample.r ?? {}), ...Object.values(sample.raw ?? {})];
      deepTexts[number * data.chunk_size + place] = texts.join('\n').toLowerCase();
    });
    onProgress(Math.min(data.num, (number + 1) * data.chunk_size));
  }
}

function idle() {
  return new Promise((go) => {
    if (typeof requestIdleCallback === 'function') requestIdleCallback(go, { timeout: 100 });
    else setTimeout(go, 10);
  });
}
