// What is wrong with the text of a page, as a list of sentences. Runs in a page whose frames hold the pages to measure.

const LEAST = 11;

function shown(text) {
  const words = text.replace(/\s+/g, " ").trim();
  return words.length > 60 ? words.slice(0, 57) + "..." : words;
}

// Pixels of an em as drawn: text of an SVG is scaled with it.
function drawnSize(element) {
  const size = parseFloat(getComputedStyle(element).fontSize);
  const matrix = element.getScreenCTM ? element.getScreenCTM() : null;
  return matrix ? size * Math.sqrt(Math.abs(matrix.a * matrix.d - matrix.b * matrix.c)) : size;
}

// The lines of every visible piece of text: {text, element, size, boxes}.
function texts(page) {
  const found = [];
  const walker = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.data.trim() || element.closest("title, script, style, desc")) continue;
    if (!element.checkVisibility({visibilityProperty: true})) continue;
    const range = page.createRange();
    range.selectNodeContents(node);
    const boxes = [...range.getClientRects()].filter(box => box.width > 0.5 && box.height > 0.5);
    if (boxes.length) found.push({text: shown(node.data), element, size: drawnSize(element), boxes});
  }
  return found;
}

// The part of a box that its surroundings show; null if they show none of it. said: called for text that is cut off
// without a mark: neither an ellipsis nor a bar to scroll.
function visiblePart(box, element, said) {
  let {left, right, top, bottom} = box;
  for (let outer = element; outer && outer.tagName !== "HTML"; outer = outer.parentElement) {
    const style = outer.ownerDocument.defaultView.getComputedStyle(outer);
    const isInline = style.display === "inline" && !outer.ownerSVGElement && outer.tagName !== "svg";
    if (isInline || (style.overflowX === "visible" && style.overflowY === "visible")) continue;
    if (outer.ownerSVGElement && outer.tagName !== "svg") continue;
    const clip = outer.getBoundingClientRect();
    const marked = style.textOverflow === "ellipsis" || style.webkitLineClamp !== "none" || style.overflowX === "auto";
    const lost = Math.max(clip.left - left, left - clip.right, right - clip.right, clip.top - top, bottom - clip.bottom);
    if (lost > 1.5 && !marked) said();
    left = Math.max(left, clip.left), right = Math.min(right, clip.right);
    top = Math.max(top, clip.top), bottom = Math.min(bottom, clip.bottom);
    if (right - left <= 0.5 || bottom - top <= 0.5) return null;
  }
  return {left, right, top, bottom};
}

function problems(page) {
  const found = new Set();
  for (const closed of page.querySelectorAll("details")) closed.open = true;
  const wide = page.documentElement.clientWidth;
  if (page.documentElement.scrollWidth > wide) {
    found.add(`the page is ${page.documentElement.scrollWidth} pixels wide in a window of ${wide}`);
  }
  const pieces = [];
  for (const {text, element, size, boxes} of texts(page)) {
    if (size < LEAST - 0.01) found.add(`${size.toFixed(1)} pixels: ${text}`);
    const scrolls = element.closest(".scroll");
    for (const box of boxes) {
      const part = visiblePart(box, element, () => found.add(`cut off: ${text}`));
      if (!part) continue;
      if (!scrolls && (part.left < -0.5 || part.right > wide + 0.5)) found.add(`outside of the window: ${text}`);
      pieces.push({...part, text, element});
    }
  }
  pieces.sort((a, b) => a.top - b.top);
  pieces.forEach((one, number) => {
    for (let next = number + 1; next < pieces.length && pieces[next].top < one.bottom - 2; next++) {
      const other = pieces[next];
      if (other.element === one.element) continue;
      const across = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const down = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      if (across > 1 && down > 2.5) found.add(`overlap: ${[one.text, other.text].sort().join(" | ")}`);
    }
  });
  for (const picture of page.querySelectorAll("img")) {
    const box = picture.getBoundingClientRect(), room = picture.parentElement.getBoundingClientRect();
    if (Math.abs(box.width - room.width) > 0.5) {
      found.add(`a picture of ${box.width} pixels in a tile of ${room.width}: ${shown(picture.alt)}`);
    }
  }
  return [...found];
}

window.addEventListener("load", () => {
  const found = {};
  for (const frame of document.querySelectorAll("iframe")) {
    found[frame.name] = problems(frame.contentDocument);
  }
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify(found);
  document.body.replaceChildren(out);
});
