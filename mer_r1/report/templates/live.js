// Loads the page again and brings the reader back: to the same heading, with the same parts open.

const PLACE = 'mer-r1 place';
const LEFT = 'section[id], h2[id]';

function isBusy() {
  const playing = [...document.querySelectorAll('video, audio')].some((media) => !media.paused);
  return document.hidden || playing || (document.activeElement?.matches('input, textarea, select') ?? false);
}

function nameOf(details) {
  return details.querySelector('summary')?.textContent ?? '';
}

function keepPlace() {
  const above = [...document.querySelectorAll(LEFT)].filter((each) => each.getBoundingClientRect().top < innerHeight / 2).at(-1);
  const place = {
    y: scrollY,
    at: above?.id,
    offset: above?.getBoundingClientRect().top,
    open: [...document.querySelectorAll('details[open]')].map(nameOf),
    chosen: [...document.querySelectorAll('.wheels input:checked')].map((each) => each.id),
    list: document.getElementById('sb-list')?.scrollTop,
  };
  try {
    sessionStorage.setItem(PLACE, JSON.stringify(place));
  } catch { /* then the browser's own way of it has to do */ }
}

function comeBack() {
  let place = null;
  try {
    place = JSON.parse(sessionStorage.getItem(PLACE));
    sessionStorage.removeItem(PLACE);
  } catch { /* nothing is kept here */ }
  if (!place) return;
  for (const details of document.querySelectorAll('details')) if (place.open.includes(nameOf(details))) details.open = true;
  for (const id of place.chosen) {
    const input = document.getElementById(id);
    if (input) input.checked = true;
  }
  const list = document.getElementById('sb-list');
  if (list && place.list) list.scrollTop = place.list;
  const at = place.at && document.getElementById(place.at);
  const top = at ? at.getBoundingClientRect().top + scrollY - place.offset : place.y;
  scrollTo({ top, behavior: 'instant' });
}

function again() {
  if (isBusy()) return;
  keepPlace();
  location.reload();
}

history.scrollRestoration = 'manual';
addEventListener('load', () => setTimeout(comeBack)); // the sample browser is there by then
setInterval(again, 1000 * Number(document.getElementById('live').dataset.seconds));
