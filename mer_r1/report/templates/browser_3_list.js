// The list: only the rows in sight are elements. One row is the cursor (keyboard), one may be open (detail).

const ROW_PX = 58; // .sb-item in browser.css
const ROWS_BEYOND = 6;
const MAX_SHOWN_LETTERS = 240; // a row is one line; longer text is only laid out where it can be read

let cursor = 0;
let painted = [-1, -1];

function paintList(force) {
  const list = byId('list');
  const first = Math.max(0, Math.floor(list.scrollTop / ROW_PX) - ROWS_BEYOND);
  const last = Math.min(matches.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW_PX) + ROWS_BEYOND);
  if (!force && first === painted[0] && last === painted[1]) return;
  painted = [first, last];
  const rows = [];
  for (let place = first; place < last; place += 1) rows.push(rowOf(place));
  byId('rows').replaceChildren(...rows);
  const shown = cursor >= first && cursor < last;
  if (shown) list.setAttribute('aria-activedescendant', 'sb-row-' + cursor);
  else list.removeAttribute('aria-activedescendant');
}

function rowOf(place) {
  const i = matches[place];
  const isOpen = view.open !== '' && view.open === keyOf(i);
  const row = element(
    'div',
    {
      id: 'sb-row-' + place, class: 'sb-item' + (place === cursor ? ' sb-cursor' : ''), role: 'option', 'data-place': place,
      'aria-selected': String(isOpen), 'aria-posinset': place + 1, 'aria-setsize': matches.length,
    },
    element('span', { class: 'sb-glyph', title: data.medium[i], 'aria-label': data.medium[i] }, GLYPHS[data.medium[i]] ?? '·'),
    element('span', { class: 'sb-texts' }, goldLine(i), subtitleLine(i)),
    element('span', { class: 'sb-marks' }, noteMark(i), markOf(view.a, i), markOf(view.b, i)),
  );
  row.style.top = place * ROW_PX + 'px';
  return row;
}

function goldLine(i) {
  const words = wordsOf(data.gold[i]).join(', ');
  return words ? isolated(cut(words), { class: 'sb-gold' }) : element('span', { class: 'sb-gold sb-none' }, 'no gold words');
}

function subtitleLine(i) {
  const subtitle = data.subtitle[i];
  const line = element('span', { class: 'sb-sub' }, isolated(cut(data.id[i]), { class: 'sb-id' }));
  if (subtitle) line.append(' ', isolated(cut(subtitle)));
  return line;
}

function markOf(key, i) {
  const state = stateOf(key, i);
  const title = key ? titleOf(key) + ': ' + STATES[state] : '';
  return element('span', { class: 'sb-mark sb-' + ('-n'.includes(state) ? 'u' : state), title, role: 'img', 'aria-label': title }, SIGNS[state]);
}

function noteMark(i) {
  return hasNote(i) ? element('span', { class: 'sb-noted', title: 'has a note', role: 'img', 'aria-label': 'has a note' }, '✎') : null;
}

function cut(text) {
  const shown = String(text ?? '').slice(0, MAX_SHOWN_LETTERS);
  return shown.length < String(text ?? '').length ? shown + '…' : shown;
}

// New matches: the list goes to its top, or stays where its open sample is.
function showMatches() {
  matches = findMatches();
  const place = view.open === '' ? -1 : matches.findIndex((i) => keyOf(i) === view.open);
  cursor = Math.max(0, place);
  byId('rows').style.height = matches.length * ROW_PX + 'px';
  byId('empty').hidden = matches.length > 0;
  byId('list').hidden = matches.length === 0;
  if (place < 0) byId('list').scrollTop = 0;
  else reveal(cursor);
  paintList(true);
}

function reveal(place) {
  const list = byId('list');
  const top = place * ROW_PX;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + ROW_PX > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW_PX - list.clientHeight;
}

function moveCursor(place) {
  if (!matches.length) return;
  cursor = Math.max(0, Math.min(matches.length - 1, place));
  reveal(cursor);
  paintList(true);
}
