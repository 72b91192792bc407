// Where the keyboard's focus is: its place among all that can have it, and how well it is seen. Place -1 is none of them.
(() => {
  const all = [...document.querySelectorAll("a[href], button, input, summary, [tabindex='0']")].filter((e) => e.checkVisibility());
  const e = document.activeElement;
  const style = getComputedStyle(e);
  const box = e.getBoundingClientRect();
  return {
    place: all.indexOf(e), of: all.length, what: e.outerHTML.slice(0, 120),
    seen: style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2 && box.width > 0 && box.right > 0 && box.bottom > 0 && box.top < innerHeight,
  };
})()
