// The list as it is filtered, saved as a file: made here, of a Blob, so nothing is sent.

const STATUS_NAMES = { o: 'ok', t: 'truncated', n: 'no_answer', e: 'error' };
const FORMULA = /^(?:[\s\0]*[=+\-@＝＋－＠]|[\t\r\n])/; // what a spreadsheet would compute; an apostrophe makes it a text

function rowOfSample(i) {
  const cases = data.kinds.filter((_, place) => (data.case[i] >> place) & 1).map((kind) => kind.title);
  const asked = answerKeys().filter((key) => data.answers[key].words[i] !== null);
  const answers = asked.map((key) => ({
    system: data.systems[systemOf(key)].title,
    mode: modeOf(key),
    labels: wordsOf(data.answers[key].words[i]),
    status: STATUS_NAMES[data.answers[key].status[i]] ?? 'ok',
    verdict: STATES[stateOf(key, i)],
  }));
  const { note, tags } = noteOf(i);
  return {
    id: data.id[i], set: data.sets[data.set[i]], subtitle: data.subtitle[i] ?? '', labels: wordsOf(data.gold[i]),
    cases, answers, note, tags: tagsOf(tags),
  };
}

function jsonLines(rows) {
  return rows.map((row) => JSON.stringify(row) + '\n').join('');
}

function csvCell(value) {
  const text = Array.isArray(value) ? value.join(', ') : String(value ?? '');
  const safe = FORMULA.test(text) ? "'" + text : text;
  return /[",\r\n;]|^\s|\s$/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
}

// RFC 4180, with a byte order mark, by which spreadsheets know UTF-8.
function csvLines(rows) {
  const keys = answerKeys();
  const titles = keys.flatMap((key) => [titleOf(key), titleOf(key) + ' verdict']);
  const lines = rows.map((row) => {
    const answers = keys.flatMap((key) => {
      const answer = row.answers.find((each) => each.system === data.systems[systemOf(key)].title && each.mode === modeOf(key));
      return answer ? [answer.labels, answer.verdict] : ['', ''];
    });
    return [row.id, row.set, row.subtitle, row.labels, row.cases, ...answers, row.note, row.tags];
  });
  const head = ['id', 'set', 'subtitle', 'labels', 'cases', ...titles, 'note', 'tags'];
  return '\ufeff' + [head, ...lines].map((cells) => cells.map(csvCell).join(',') + '\r\n').join('');
}

function saveList(ending) {
  const rows = matches.map(rowOfSample);
  const [text, type] = ending === 'csv' ? [csvLines(rows), 'text/csv'] : [jsonLines(rows), 'application/x-ndjson'];
  const url = URL.createObjectURL(new Blob([text], { type: type + ';charset=utf-8' }));
  const page = decodeURIComponent(location.pathname.split('/').pop() ?? '').replace(/\.html?$/i, '') || 'report';
  element('a', { href: url, download: page + '-samples.' + ending }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // a browser may ask first where to save
}
