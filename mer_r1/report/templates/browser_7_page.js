// Controls, keyboard, the address, and the start.

const section = byId('card').closest('.sb');
const narrow = matchMedia('(max-width: 860px)'); // as in browser.css: there the detail covers the page
let timer = 0;

function fillSelect(name, options, none) {
  const empty = none === undefined ? [] : [['', none]];
  byId(name).replaceChildren(...[...empty, ...options].map(([value, text]) => element('option', { value }, text)));
}

function counted(values, num) {
  const counts = new Array(num).fill(0);
  for (const value of values) for (const each of [value].flat()) counts[each] += 1;
  return counts;
}

function fillControls() {
  const categories = data.wheels[0]?.categories ?? [];
  const numCategory = counted(data.category, categories.length);
  const numSet = counted(data.set, data.sets.length);
  const answers = answerKeys().map((key) => [key, titleOf(key)]);
  fillSelect('set', data.sets.map((name, place) => [name, name + ' (' + numSet[place] + ')']), 'all');
  fillSelect('category', categories.map((name, place) => [name, name + ' (' + numCategory[place] + ')']), 'any');
  fillSelect('medium', MEDIA.map((key) => [key, (key.length > 1 ? 'without ' : 'with ') + PARTS[key.at(-1)]]), 'any');
  fillNoteChoices();
  fillSelect('a', answers);
  fillSelect('b', answers);
  fillSelect('aIs', Object.entries(STATES), 'anything');
  fillSelect('bIs', Object.entries(STATES), 'anything');
  fillSelect('ab', Object.entries(PAIRINGS), 'any');
  byId('set-label').hidden = data.sets.length < 2;
  byId('kinds').replaceChildren(...data.kinds.map((kind, place) => {
    const num = data.case.reduce((sum, bits) => sum + ((bits >> place) & 1), 0);
    return element('button', { type: 'button', 'data-kind': kind.key, title: kind.rule }, kind.title + ' ', element('span', {}, num.toLocaleString('en')));
  }));
}

function showControls() {
  for (const name of ['q', 'set', 'category', 'medium', 'note', 'a', 'aIs', 'b', 'bIs', 'ab']) {
    if (byId(name).value !== view[name]) byId(name).value = view[name];
  }
  byId('deep').checked = view.deep !== '';
  for (const pill of byId('kinds').children) pill.setAttribute('aria-pressed', String(pill.dataset.kind === view.kind));
  const kind = data.kinds[kindPlace(view.kind)];
  byId('rule').hidden = !kind;
  byId('rule').textContent = kind ? kind.rule : '';
  const num = CHOICES.filter((name) => name !== 'q' && name !== 'deep' && view[name] !== '').length;
  byId('active').textContent = num ? '(' + num + ')' : '';
  byId('clear').hidden = !isFiltered();
  for (const letter of section.querySelectorAll('[data-side]')) {
    const key = view[letter.dataset.side];
    letter.style.setProperty('--of', key ? colourOf(systemOf(key)) : null);
    letter.title = key ? titleOf(key) : '';
  }
}

function showCount() {
  const order = view.kind ? ', strongest first' : '';
  const all = data.num.toLocaleString('en');
  const text = isFiltered() ? ' of ' + all + ' samples' + order : data.num === 1 ? ' sample' : ' samples';
  for (const ending of ['csv', 'jsonl']) byId(ending).disabled = matches.length === 0;
  byId('count').replaceChildren(element('b', {}, matches.length.toLocaleString('en')), text);
}

function show() {
  showControls();
  showMatches();
  showCount();
  const place = byId('detail').querySelector('.sb-place');
  if (place) place.textContent = placeText(openIndex());
}

// Takes over part of a new view and shows what it changes.
function change(part) {
  view = { ...view, ...part };
  const names = Object.keys(part);
  if (names.some((name) => name !== 'open' && name !== 'wheel')) show();
  else if ('open' in part) paintList(true);
  if (names.some((name) => ['a', 'b', 'open'].includes(name))) showDetail();
  if ('wheel' in part && openIndex() >= 0) fillWheel();
  if ('deep' in part && view.deep) searchDeep();
  clearTimeout(timer);
  timer = setTimeout(keepAddress, 250);
}

function fillWheel() {
  const i = openIndex();
  readTexts(i).then((texts) => {
    const holder = byId('detail').querySelector('.sb-confidence');
    paintConfidence(holder, texts, i);
    holder.querySelector('[aria-pressed=true]')?.focus();
  });
}

function keepAddress() {
  clearTimeout(timer);
  const isOurs = location.hash.startsWith('#samples');
  const hash = hashOfView();
  if (location.hash !== hash && (isOurs || hash !== '#samples')) history.replaceState(history.state, '', hash);
}

async function searchDeep() {
  let last = performance.now();
  try {
    await readDeepTexts((num) => {
      byId('progress').textContent = num < data.num ? 'reading ' + num.toLocaleString('en') + ' of ' + data.num.toLocaleString('en') : '';
      if (view.q && (num >= data.num || performance.now() - last > 700)) {
        last = performance.now();
        show();
      }
    });
    byId('progress').textContent = '';
  } catch (problem) {
    byId('progress').textContent = problem.message;
  }
}

function openPlace(place) {
  if (!matches.length) return;
  moveCursor(place);
  const wasOpen = view.open !== '';
  change({ open: keyOf(matches[cursor]) });
  if (narrow.matches) {
    if (!wasOpen) history.pushState({ detail: true }, '', hashOfView()); // "back" closes the detail
    byId('detail').focus();
  }
}

function closeDetail() {
  if (narrow.matches && history.state?.detail) history.back();
  else change({ open: '' });
  byId('list').focus();
}

function step(by) {
  if (view.open === '') moveCursor(cursor + by);
  else openPlace(keyOf(matches[cursor] ?? 0) === view.open ? cursor + by : cursor);
}

function playOrPause() {
  const media = byId('detail').querySelector('video, audio');
  if (!media) return;
  if (media.paused) media.play().catch(() => {}); // what cannot be played says so itself
  else media.pause();
}

function clearAll() {
  change(Object.fromEntries(CHOICES.map((name) => [name, defaults[name]])));
}

function onKey(event) {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const isField = target.matches('input, select, textarea');
  let done = true;
  if (key === '/' && !isField) byId('q').focus();
  else if (target === byId('q')) done = onSearchKey(key);
  else if (!section.contains(target) || isField) done = false;
  else if (key === 'Escape' && view.open !== '') closeDetail();
  else if (target === byId('list')) done = onListKey(key) || onMoveKey(key);
  else if (byId('detail').contains(target) && !target.matches('video, audio')) done = onMoveKey(key, target);
  else done = false;
  if (done) event.preventDefault();
}

function onSearchKey(key) {
  if (key === 'Escape' && view.q) change({ q: '' });
  else if (key === 'ArrowDown' || key === 'Enter') byId('list').focus();
  else return false;
  return true;
}

function onListKey(key) {
  const page = Math.max(1, Math.floor(byId('list').clientHeight / ROW_PX) - 1);
  if (key === 'ArrowDown') step(1);
  else if (key === 'ArrowUp') step(-1);
  else if (key === 'PageDown') step(page);
  else if (key === 'PageUp') step(-page);
  else if (key === 'Home') step(-matches.length);
  else if (key === 'End') step(matches.length);
  else if (key === 'Enter') openPlace(cursor);
  else return false;
  return true;
}

function onMoveKey(key, target) {
  if (key === 'j') step(1);
  else if (key === 'k') step(-1);
  else if (key === ' ' && !target?.matches('button, summary')) playOrPause();
  else return false;
  return true;
}

function onDetailClick(event) {
  const button = event.target.closest('button');
  if (button?.dataset.wheel) change({ wheel: button.dataset.wheel });
  if (button?.dataset.action === 'close') closeDetail();
  if (button?.dataset.action === 'next') step(1);
  if (button?.dataset.action === 'previous') step(-1);
}

function onListClick(event) {
  const row = event.target.closest('[data-place]');
  if (row) openPlace(Number(row.dataset.place));
}

function listen() {
  byId('filters').addEventListener('submit', (event) => event.preventDefault());
  byId('q').addEventListener('input', () => change({ q: byId('q').value }));
  byId('deep').addEventListener('change', () => change({ deep: byId('deep').checked ? '1' : '' }));
  for (const name of ['set', 'category', 'medium', 'note', 'a', 'aIs', 'b', 'bIs', 'ab']) {
    byId(name).addEventListener('change', () => change({ [name]: byId(name).value }));
  }
  byId('kinds').addEventListener('click', (event) => {
    const kind = event.target.closest('button')?.dataset.kind;
    if (kind) change({ kind: kind === view.kind ? '' : kind });
  });
  byId('clear').addEventListener('click', clearAll);
  byId('reset').addEventListener('click', clearAll);
  for (const ending of ['csv', 'jsonl']) byId(ending).addEventListener('click', () => saveList(ending));
  byId('list').addEventListener('click', onListClick);
  byId('list').addEventListener('scroll', () => requestAnimationFrame(() => paintList(false)), { passive: true });
  byId('detail').addEventListener('click', onDetailClick);
  document.addEventListener('keydown', onKey);
  addEventListener('resize', () => paintList(true));
  addEventListener('popstate', showAddress);
  narrow.addEventListener('change', () => { byId('more').open = !narrow.matches; });
}

function showAddress() {
  const isOurs = location.hash.startsWith('#samples');
  if (!isOurs && (view.open === '' || !narrow.matches)) return; // another part of the page; "back" closes the detail
  view = isOurs ? viewOfHash(location.hash) : { ...view, open: '' };
  show();
  showDetail();
  if (view.deep) searchDeep();
}

// Milliseconds of the slowest of several filters, from the change until it is painted.
async function measureFilter() {
  const before = view;
  const letters = [{ q: 'a' }, { q: String(data.id[data.num - 1] ?? '') }, { q: data.words[0] ?? '' }];
  const kinds = data.kinds.map((kind) => ({ kind: kind.key }));
  const categories = (data.wheels[0]?.categories ?? []).slice(0, 2).map((category) => ({ category }));
  const parts = [...letters, ...kinds, ...categories, { aIs: 'w' }, { bIs: 'r' }, { ab: 'differ' }, { medium: 's' }, {}];
  let slowest = 0;
  for (const part of parts) slowest = Math.max(slowest, await untilPainted({ ...defaults, ...part }));
  view = before;
  show();
  return slowest;
}

function untilPainted(next) {
  return new Promise((done) => requestAnimationFrame(() => {
    const start = performance.now();
    const { port1, port2 } = new MessageChannel(); // its message comes after the frame is painted
    port1.onmessage = () => { port1.close(); done(performance.now() - start); };
    view = next;
    show();
    byId('list').offsetHeight;
    port2.postMessage(0);
  }));
}

function start() {
  document.addEventListener('error', sayUnplayable, true);
  for (const media of document.querySelectorAll('video.player, audio.player')) if (media.error) sayUnplayable({ target: media });
  try {
    data = readIndex();
  } catch {
    byId('problem').textContent = 'The samples of this page cannot be read: its file is damaged. Write the report again.';
    byId('problem').hidden = false;
    return;
  }
  if (!data || !data.num) {
    section.hidden = true;
    return;
  }
  byId('card').hidden = false;
  byId('more').open = !narrow.matches;
  readNotes();
  defaults = defaultView();
  view = viewOfHash(location.hash.startsWith('#samples') ? location.hash : '');
  fillControls();
  listen();
  show();
  showDetail();
  if (view.deep) searchDeep();
  if (location.hash.startsWith('#samples')) section.scrollIntoView({ behavior: 'instant' });
  requestAnimationFrame(() => setTimeout(() => { window.merR1Ready = true; }));
  window.merR1 = { measureFilter };
}

if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', start);
else start();
