// Every visible text of the page with its colour, the colour under it and the ratio WCAG 2 asks of it.
() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const seen = new Map();
  const parse = (colour) => {
    if (!seen.has(colour)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = '#000';
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      seen.set(colour, [r, g, b, a / 255]);
    }
    return seen.get(colour);
  };
  const over = (top, under) => top.slice(0, 3).map((c, i) => c * top[3] + under[i] * (1 - top[3]));
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const page = parse(getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor);
  const background = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((under, layer) => over(layer, under), page.slice(0, 3));
  };
  const opacity = (element) => {
    let product = 1;
    for (let e = element; e; e = e.parentElement) product *= parseFloat(getComputedStyle(e).opacity || '1');
    return product;
  };
  // A shape of a chart that lies under a point: its fill, or of a pattern the colours of its ground and its lines.
  const fills = (shape) => {
    const style = getComputedStyle(shape);
    const alpha = parseFloat(style.fillOpacity || '1') * opacity(shape);
    const named = /url\("?#([^")]+)"?\)/.exec(style.fill);
    if (!named) {
      const colour = parse(style.fill);
      return style.fill === 'none' || colour[3] === 0 ? [] : [[...colour.slice(0, 3), colour[3] * alpha]];
    }
    const pattern = document.getElementById(named[1]);
    if (!pattern) return [];
    return [...pattern.children].flatMap((part) => {
      const own = getComputedStyle(part);
      const isDrawnInLines = own.stroke !== 'none';
      const [colour, shown] = isDrawnInLines ? [own.stroke, own.strokeOpacity] : [own.fill, own.fillOpacity];
      const [r, g, b, a] = parse(colour);
      return a === 0 ? [] : [[r, g, b, a * alpha * parseFloat(shown || '1') * parseFloat(own.opacity || '1')]];
    });
  };
  const contains = (shape, x, y) => {
    const box = shape.getBoundingClientRect();
    if (x < box.left || x > box.right || y < box.top || y > box.bottom) return false;
    if (shape.tagName === 'rect') return true;
    const matrix = shape.getScreenCTM();
    if (!matrix) return false;
    return shape.isPointInFill(new DOMPoint(x, y).matrixTransform(matrix.inverse()));
  };
  const grounds = (text) => {
    const box = text.getBoundingClientRect();
    const [x, y] = [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
    let found = [background(text)];
    const root = text.closest('.js-plotly-plot') || text.ownerSVGElement;
    for (const shape of root.querySelectorAll('path, rect')) {
      if (shape.closest('defs, pattern, clipPath, .hoverlayer') || !contains(shape, x, y)) continue;
      if (!(shape.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING)) continue;
      const layers = fills(shape);
      if (layers.length) found = layers.flatMap((layer) => found.map((under) => over(layer, under)));
    }
    return found;
  };
  const results = new Map();
  const note = (words, colour, ground, style, kind) => {
    const pixels = parseFloat(style.fontSize);
    const large = pixels >= 24 || (pixels >= 18.66 && parseInt(style.fontWeight, 10) >= 700);
    const ratio = contrast(colour, ground);
    const hex = (rgb) => '#' + rgb.map((c) => Math.round(c).toString(16).padStart(2, '0')).join('');
    const key = `${kind} ${hex(colour)} on ${hex(ground)} ${large}`;
    const old = results.get(key);
    if (old) old.count += 1;
    else results.set(key, {kind, colour: hex(colour), ground: hex(ground), ratio, asked: large ? 3 : 4.5, count: 1,
                           words: words.trim().slice(0, 60)});
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const words = walker.currentNode.textContent;
    if (!words.trim() || !element || element.closest('script, style, noscript, title, [disabled], [aria-disabled=true]'))
      continue;
    if (!element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const box = element.getBoundingClientRect();
    if (box.width < 2 || box.height < 2) continue;
    const style = getComputedStyle(element);
    const isDrawn = element instanceof SVGElement;
    const [r, g, b, a] = parse(isDrawn ? style.fill : style.color);
    const alpha = a * opacity(element) * (isDrawn ? parseFloat(style.fillOpacity || '1') : 1);
    const kind = !isDrawn ? 'text' : element.closest('.js-plotly-plot') ? 'chart' : 'drawing';
    if (isDrawn && element.closest('.heatmaplayer, .hm')) continue; // an image: its colours are held by a test
    for (const ground of isDrawn ? grounds(element.closest('text') || element) : [background(element)])
      note(words, over([r, g, b, alpha], ground), ground, style, kind);
  }
  for (const field of document.querySelectorAll('input[placeholder], textarea[placeholder]')) {
    if (field.value || !field.placeholder || !field.checkVisibility()) continue;
    const style = getComputedStyle(field, '::placeholder');
    const [r, g, b, a] = parse(style.color);
    const ground = background(field);
    note(field.placeholder, over([r, g, b, a * parseFloat(style.opacity || '1')], ground), ground, style, 'placeholder');
  }
  return [...results.values()].sort((one, other) => one.ratio / one.asked - other.ratio / other.asked);
}
