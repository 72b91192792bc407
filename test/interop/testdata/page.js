// What is wrong with the page as it is shown now, as sentences. Each rule is one of WCAG 2.2 AA that a program can decide.
(() => {
  const wrong = [];
  const want = (is, text) => { if (!is) wrong.push(text); };
  const all = (selector) => [...document.querySelectorAll(selector)];
  const shown = (e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const tell = (e) => e.outerHTML.slice(0, 120);

  // A reader finds the way: language, title, landmarks, one heading of the page, no level left out.
  want(document.documentElement.lang === "en", "the page has no language");
  want(/\S+.* · Postrider$/.test(document.title), `the title is ${document.title}`);
  for (const one of ["main", "header", "footer", "nav[aria-label]", "h1"]) want(all(one).length === 1, `there are ${all(one).length} ${one}`);
  let level = 0;
  for (const h of all("h1, h2, h3, h4")) {
    const next = Number(h.tagName[1]);
    want(next <= level + 1, `${tell(h)} follows a heading of level ${level}`);
    level = next;
  }
  const ids = all("[id]").map((e) => e.id);
  want(new Set(ids).size === ids.length, "two elements have one id");
  for (const e of all("[aria-labelledby]")) want(document.getElementById(e.getAttribute("aria-labelledby")), `${tell(e)} is named by nothing`);
  for (const e of all("a, button, summary")) want(e.textContent.trim(), `${tell(e)} has no name`);
  for (const e of all("input")) want(e.labels.length === 1, `${tell(e)} has no label`);

  // A table is one: it has a caption and headers, and every row has its cells.
  for (const t of all("table")) {
    want(t.caption?.textContent.trim(), "a table has no caption");
    for (const th of t.querySelectorAll("th")) want(th.scope === (th.closest("thead") ? "col" : "row"), `${tell(th)} is the header of nothing`);
    const columns = t.tHead.rows[0].cells.length;
    for (const row of t.tBodies[0].rows) {
      want([...row.cells].reduce((n, c) => n + c.colSpan, 0) === columns, `a row has other columns than its table: ${row.textContent}`);
      const last = row === row.parentElement.lastElementChild;
      for (const c of row.cells) want(last || parseFloat(getComputedStyle(c).borderBottomWidth) >= 1, `no line under ${tell(c)}`);
    }
  }
  // Colour is never alone: each cell of the map says its number, each badge its word.
  for (const c of all("td[class*=level]")) want(/^\d+\+?$/.test(c.textContent.trim()), `${tell(c)} tells by its colour alone`);
  for (const b of all(".badge")) want(b.textContent.trim(), "a badge is empty");

  // Contrast, of all text that is shown, with what is behind it.
  const parse = (color) => color.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
      if (color[3] !== 0) wrong.push(`${tell(e)} is half transparent: its contrast cannot be told`);
    }
    return [255, 255, 255];
  };
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let texts = 0;
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !shown(e) || e.closest(".spoken")) continue;
    texts++;
    const ratio = contrast(parse(getComputedStyle(e).color), behind(e));
    want(ratio >= 4.5, `contrast ${ratio.toFixed(2)} of ${tell(e)}`);
  }
  want(texts >= 8, `only ${texts} texts were looked at`);
  for (const e of all("input")) {
    const ratio = contrast(parse(getComputedStyle(e).borderTopColor), behind(e.parentElement));
    want(ratio >= 3, `contrast ${ratio.toFixed(2)} of the border of ${tell(e)}`);
  }

  // Nothing is cut off: the page does not scroll sideways, and what one aims at is large enough.
  want(document.documentElement.scrollWidth <= innerWidth, `the page is ${document.documentElement.scrollWidth} wide in a window of ${innerWidth}`);
  for (const e of all("button, .button, summary, input").filter(shown)) want(e.getBoundingClientRect().height >= 24, `${tell(e)} is small`);
  // Nothing moves.
  want(document.getAnimations().length === 0, "something moves");
  for (const e of all("*")) {
    const style = getComputedStyle(e);
    want(parseFloat(style.transitionDuration) === 0 && style.scrollBehavior === "auto", `${tell(e)} would move`);
  }
  return wrong;
})()
