// The detail of one sample: its media, what is known of it, the answers, and the confidence in each category.

function showDetail() {
  const detail = byId('detail');
  const focused = detail.contains(document.activeElement) ? document.activeElement : null;
  const i = openIndex();
  stopMedia();
  document.documentElement.classList.toggle('sb-locked', i >= 0);
  byId('card').classList.toggle('sb-open', i >= 0);
  detail.scrollTop = 0;
  if (i < 0) detail.replaceChildren(legend());
  else {
    detail.replaceChildren(detailHead(i), mediaAndFacts(i), notesOf(i), answersOf(i), element('div', { class: 'sb-confidence' }));
    fillTexts(i, detail);
  }
  const action = focused?.dataset.action;
  if (focused) (detail.querySelector(`[data-action="${action}"]`) ?? detail).focus();
}

function openIndex() {
  if (view.open === '') return -1;
  if (keyOf(matches[cursor] ?? 0) === view.open) return matches[cursor] ?? 0;
  return data.id.findIndex((_, i) => keyOf(i) === view.open);
}

function stopMedia() {
  for (const media of byId('detail').querySelectorAll('video, audio')) {
    media.pause();
    media.removeAttribute('src');
    media.load();
  }
}

function legend() {
  const signs = Object.entries(VERDICTS).map(([state, text]) =>
    element('li', {}, element('span', { class: 'sb-sign sb-' + state }, SIGNS[state]), ' ' + text));
  const glyphs = Object.entries(GLYPHS).map(([medium, glyph]) =>
    element('li', {}, element('span', { class: 'sb-sign' }, glyph), ' ' + medium));
  return element(
    'div', { class: 'sb-legend' },
    element('p', {}, 'Open a sample to play it and to see its answers.'),
    element('ul', { 'aria-label': 'Signs of words' }, ...signs),
    element('ul', { 'aria-label': 'Signs of media' }, ...glyphs),
    element('p', { class: 'sb-note' }, 'A word is judged by its category in each wheel: ' + data.sources.join(', ') + '.'),
  );
}

function detailHead(i) {
  const button = (action, label, sign) => element('button', { type: 'button', 'data-action': action, 'aria-label': label, title: label }, sign);
  return element(
    'div', { class: 'sb-detail-head' },
    element('div', { class: 'sb-name' }, element('h3', {}, isolated(cut(data.id[i]))), element('span', { class: 'sb-note sb-place' }, placeText(i))),
    element('span', { class: 'sb-buttons' }, button('previous', 'previous sample', '‹'), button('next', 'next sample', '›'), button('close', 'close', '✕')),
  );
}

function placeText(i) {
  const isHere = matches.length > 0 && matches[cursor] === i;
  return isHere ? (cursor + 1).toLocaleString('en') + ' of ' + matches.length.toLocaleString('en') : 'not among the matches';
}

function mediaAndFacts(i) {
  return element('div', { class: 'sb-top sb-of-' + data.medium[i] }, mediaOf(i), factsOf(i));
}

// Only a path beside the page is played: nothing with a scheme, nothing from a root.
function isBeside(path) {
  return typeof path === 'string' && path !== '' && !/^([a-z][a-z0-9+.-]*:|[/\\])/i.test(path);
}

// Where a medium is played from: a copy within the page, in a card's player or in a block of its own, or its file.
function sourceOf(path) {
  if (!isBeside(path)) return null;
  if (!path.startsWith('#')) return path;
  const holder = document.getElementById(path.slice(1));
  if (holder?.tagName === 'SCRIPT') return 'data:' + holder.dataset.type + ';base64,' + holder.textContent.trim();
  return holder?.getAttribute('src') ?? null;
}

function mediaOf(i) {
  const medium = data.medium[i];
  if (medium === 'text') return null;
  const source = sourceOf(data.path[i]);
  if (source === null) return element('p', { class: 'sb-gone' }, 'The file is not beside this page.');
  const tag = { video: 'video', audio: 'audio', image: 'img' }[medium] ?? 'video';
  const rest = tag === 'img' ? { alt: 'the image of this sample' } : { controls: true, preload: 'metadata' };
  return element(tag, { src: source, class: 'sb-media', ...rest });
}

// What cannot be played says so in its place, in the browser and in the cards above it; errors of media do not bubble.
function sayUnplayable(event) {
  const media = event.target;
  if (!media.matches?.('.sb-media, .player') || !media.getAttribute('src')) return;
  media.replaceWith(element('p', { class: 'sb-gone' }, 'The file is missing, or this browser cannot play it.'));
}

function factsOf(i) {
  const parts = Object.entries(PARTS).filter(([letter]) => data.has[i].includes(letter)).map(([, part]) => part);
  const categories = data.category[i].map((category) => data.wheels[0]?.categories[category]).join(', ');
  const facts = element('dl', { class: 'sb-facts' });
  const add = (name, value) => facts.append(element('dt', {}, name), element('dd', {}, value));
  if (data.subtitle[i]) add('subtitle', isolated('“' + data.subtitle[i] + '”', { class: 'sb-said' }));
  add('gold', isolated(wordsOf(data.gold[i]).join(', ') || 'none', { class: 'sb-golds' }));
  if (categories) add('category', categories);
  if (typeof data.valence[i] === 'number') add('valence', data.valence[i].toFixed(2).replace('-', '−'));
  if (data.sets.length > 1) add('set', isolated(data.sets[data.set[i]]));
  add('has', parts.join(', ') || 'nothing');
  data.kinds.filter((_, place) => (data.case[i] >> place) & 1).forEach((kind, place) => {
    add(place ? '' : 'case', element('span', {}, element('b', {}, kind.title), element('small', {}, kind.rule)));
  });
  return facts;
}

// The systems compared stand beside each other; the others are one click away.
function answersOf(i) {
  const compared = [...new Set([view.a, view.b].filter(Boolean).map(systemOf))];
  const others = data.systems.map((_, system) => system).filter((system) => !compared.includes(system));
  const cards = (systems) => element('div', { class: 'sb-answers' }, ...systems.map((system) => systemCard(system, i)));
  const rest = others.length ? element(
    'details', { class: 'sb-others' },
    element('summary', {}, others.length === 1 ? 'one more system' : others.length + ' more systems'),
    cards(others),
  ) : null;
  return element('div', {}, cards(compared), rest);
}

function systemCard(system, i) {
  const card = element('section', { class: 'sb-system' }, element('h4', {}, data.systems[system].title));
  card.style.borderColor = colourOf(system);
  for (const mode of MODES) {
    const key = system + '.' + mode;
    if (key in data.answers) card.append(answerOf(key, i));
  }
  return card;
}

function answerOf(key, i) {
  const answer = data.answers[key];
  const status = answer.words[i] === null ? '-' : answer.status[i];
  const words = wordsOf(answer.words[i] ?? []).map((word, place) => chipOf(word, answer.verdict[i]?.[place] ?? 'u'));
  const note = STATUSES[status] ? element('span', { class: 'sb-failed' }, STATUSES[status]) : null;
  const sides = ['a', 'b'].filter((side) => view[side] === key).map(letterOf);
  return element(
    'div', { class: 'sb-answer' },
    element('div', { class: 'sb-mode' }, element('span', {}, modeOf(key)), ...sides),
    element('div', { class: 'sb-words' }, ...words, note),
    element('div', { class: 'sb-long', 'data-key': key }),
  );
}

function letterOf(side) {
  const letter = element('b', { class: 'sb-letter', title: 'answer ' + side.toUpperCase() }, side.toUpperCase());
  letter.style.setProperty('--of', view[side] ? colourOf(systemOf(view[side])) : null);
  return letter;
}

function chipOf(word, verdict) {
  return element(
    'span', { class: 'sb-chip sb-' + verdict, title: VERDICTS[verdict] },
    element('span', { 'aria-hidden': 'true' }, SIGNS[verdict] ?? SIGNS.u),
    isolated(word),
    element('span', { class: 'sb-unseen' }, ', ' + VERDICTS[verdict]),
  );
}

async function fillTexts(i, detail) {
  const places = [...detail.querySelectorAll('.sb-long')];
  const confidence = detail.querySelector('.sb-confidence');
  try {
    const texts = await readTexts(i);
    for (const place of places) fillLong(place, texts);
    paintConfidence(confidence, texts, i);
  } catch (problem) {
    confidence.replaceChildren(element('p', { class: 'sb-note' }, problem.message));
  }
}

function fillLong(place, texts) {
  const reasoning = texts.r?.[place.dataset.key];
  const raw = texts.raw?.[place.dataset.key];
  if (reasoning) place.append(element('p', { class: 'sb-reasoning', dir: 'auto' }, reasoning));
  if (raw) place.append(element('p', { class: 'sb-note' }, 'what the model wrote'), element('pre', { class: 'sb-raw', dir: 'auto' }, raw));
}

function paintConfidence(holder, texts, i) {
  const systems = [...new Set([view.a, view.b].filter(Boolean).map(systemOf))];
  const known = systems.filter((system) => MODES.some((mode) => texts.c?.[system + '.' + mode]));
  if (!known.length) return holder.replaceChildren();
  const wheel = Number(view.wheel);
  const gold = texts.g?.[wheel] ?? (wheel === 0 ? data.category[i] : []);
  const table = element('div', { class: 'sb-bars', role: 'table', 'aria-label': 'Confidence in each category' }, barHead(known));
  table.style.setProperty('--num', String(known.length));
  data.wheels[wheel].categories.forEach((category, place) => {
    table.append(barRow(category, gold.includes(place), known.map((system) => barCell(system, texts, wheel, place))));
  });
  const buttons = data.wheels.map((each, place) => element(
    'button', { type: 'button', 'data-wheel': place, 'aria-pressed': String(place === wheel), title: each.title }, each.name));
  const head = element('div', { class: 'sb-line' }, element('h4', {}, 'Confidence'), element('span', { class: 'sb-wheels', role: 'group', 'aria-label': 'Wheel' }, ...buttons));
  const isMean = known.some((system) => MODES.some((mode) => texts.mean?.includes(system + '.' + mode)));
  const what = isMean ? 'Confidence in each category, averaged in logarithm over an answer’s words (older predictions hold no other), ' : 'Probability of each category at an answer’s first word, ';
  const about = what + 'thin and pale: fast, thick: slow. ' + (gold.length ? '◆ gold.' : 'Gold is not marked in this wheel.');
  return holder.replaceChildren(head, table, element('p', { class: 'sb-note' }, about));
}

function barHead(systems) {
  const titles = systems.map((system) => element('span', { role: 'columnheader' }, data.systems[system].title));
  return element('div', { class: 'sb-bar-row sb-bar-head', role: 'row' }, element('span', { role: 'columnheader' }, element('span', { class: 'sb-unseen' }, 'category')), ...titles);
}

function barRow(category, isGold, cells) {
  const name = element('span', { class: 'sb-bar-name', role: 'rowheader' }, isGold ? '◆ ' : '', category, isGold ? element('span', { class: 'sb-unseen' }, ', gold') : null);
  return element('div', { class: 'sb-bar-row' + (isGold ? ' sb-bar-gold' : ''), role: 'row' }, name, ...cells);
}

function barCell(system, texts, wheel, place) {
  const cell = element('span', { class: 'sb-bar-cell', role: 'cell' });
  cell.style.setProperty('--of', colourOf(system));
  for (const mode of MODES) {
    const log = texts.c?.[system + '.' + mode]?.[wheel]?.[place];
    if (typeof log !== 'number') continue;
    const percent = 100 * Math.exp(log);
    const bar = element('i', { class: 'sb-bar sb-bar-' + mode });
    bar.style.setProperty('--share', percent.toFixed(2) + '%');
    cell.append(element('span', { class: 'sb-unseen' }, mode + ' '), bar, element('span', { class: 'sb-number' }, percent < 0.5 ? '0' : percent.toFixed(0)));
  }
  return cell;
}
