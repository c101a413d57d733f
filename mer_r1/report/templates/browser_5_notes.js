// Notes and tags that a reader writes on samples. They stay in this browser's storage under a name made of a set's ids,
// so another page about the same samples shows them too; the page's file never changes. Where a browser keeps nothing
// for a page (some do not for files), they last until the page is closed, and the page says so.

const STORED = 'mer-r1 notes ';
const MAX_NOTE_LETTERS = 2000;

let noteMaps = []; // per set: id -> { note, tags }
let isKept = true;

function readNotes() {
  noteMaps = data.note_keys.map((key) => readNotesOf(key));
}

function readNotesOf(key) {
  try {
    const found = Object.entries(JSON.parse(localStorage.getItem(STORED + key) ?? '{}'));
    return new Map(found.map(([id, each]) => [id, { note: textOf(each?.note), tags: tagsOf(textOf(each?.tags)).join(', ') }]));
  } catch {
    return new Map();
  }
}

function textOf(value) {
  return typeof value === 'string' ? value.slice(0, MAX_NOTE_LETTERS) : '';
}

function tagsOf(text) {
  return [...new Set(text.split(',').map((tag) => tag.trim()).filter(Boolean))];
}

function noteOf(i) {
  return noteMaps[data.set[i]]?.get(data.id[i]) ?? { note: '', tags: '' };
}

function hasNote(i) {
  return noteMaps[data.set[i]]?.has(data.id[i]) ?? false;
}

// Another page may have written meanwhile, so what is stored is read first and only this sample's note is changed.
function keepNote(i, note, tags) {
  const key = data.note_keys[data.set[i]];
  const before = isKept ? readNotesOf(key) : noteMaps[data.set[i]];
  const kept = { note: textOf(note), tags: tagsOf(textOf(tags)).join(', ') };
  if (kept.note.trim() || kept.tags) before.set(data.id[i], kept);
  else before.delete(data.id[i]);
  noteMaps[data.set[i]] = before;
  try {
    localStorage.setItem(STORED + key, JSON.stringify(Object.fromEntries(before)));
    isKept = true;
  } catch {
    isKept = false;
  }
}

function allTags() {
  const tags = noteMaps.flatMap((notes) => [...notes.values()].flatMap((each) => tagsOf(each.tags)));
  return [...new Set(tags)].sort((one, other) => one.localeCompare(other));
}

// What a choice of the note filter asks of a sample: any note, none, or a tag behind "#".
function noteTest(choice) {
  if (choice === '*') return hasNote;
  if (choice === '-') return (i) => !hasNote(i);
  return (i) => tagsOf(noteOf(i).tags).includes(choice.slice(1));
}

function fillNoteChoices() {
  const known = ['*', '-', ...allTags().map((tag) => '#' + tag)];
  const choices = view?.note && !known.includes(view.note) ? [...known, view.note] : known;
  const words = { '*': 'with a note', '-': 'without a note' };
  fillSelect('note', choices.map((choice) => [choice, words[choice] ?? choice]), 'any');
  byId('tags').replaceChildren(...allTags().map((tag) => element('option', { value: tag })));
}

function notesOf(i) {
  const { note, tags } = noteOf(i);
  const text = element('textarea', { rows: 2, maxlength: MAX_NOTE_LETTERS, placeholder: 'What is to be remembered of this sample' });
  text.value = note;
  const field = element('input', { type: 'text', list: 'sb-tags', maxlength: 200, placeholder: 'such as: wrong gold, sarcasm', autocomplete: 'off' });
  field.value = tags;
  const said = element('span', { class: 'sb-note', role: 'status' });
  const keep = () => {
    const had = hasNote(i);
    keepNote(i, text.value, field.value);
    said.textContent = isKept ? 'kept in this browser' : 'This browser keeps nothing for this page: save the list before you close it.';
    if (had !== hasNote(i)) paintList(true);
  };
  const leave = () => {
    fillNoteChoices();
    showControls();
  };
  for (const each of [text, field]) {
    each.addEventListener('input', keep);
    each.addEventListener('change', leave);
  }
  return element(
    'div', { class: 'sb-own' },
    element('label', {}, element('span', {}, 'note'), text),
    element('label', {}, element('span', {}, 'tags'), field),
    said,
  );
}
