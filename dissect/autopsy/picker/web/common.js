// What picker and leaderboard share: elements, charts, downloads. All text goes in as text, never as markup.
"use strict";
var dissect = (function () {
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#767676"];
  const DASHES = ["", "7 4", "2 3", "8 3 2 3", "12 4", "12 3 2 3", ""];

  function node(name, settings, ...children) {
    const made = document.createElement(name);
    set(made, settings);
    made.append(...children.filter(child => child !== null && child !== undefined));
    return made;
  }
  function drawn(name, settings, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    set(made, settings);
    made.append(...children);
    return made;
  }
  function set(made, settings) {
    for (const [name, value] of Object.entries(settings || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (typeof value === "function") made.addEventListener(name, value);
      else made.setAttribute(name, value === true ? "" : value);
    }
  }
  // A number as it is shown; the whole stored number stands in data-value beside it.
  function shown(value, digits = 3) {
    if (value === null || value === undefined) return "";
    if (value !== 0 && Math.abs(value) < 0.5 * 10 ** -digits) return Number(value).toExponential(1);
    return Number(value).toFixed(digits);
  }
  function percent(value) {
    return value === null || value === undefined ? "" : `${Math.round(100 * value)}%`;
  }
  function numberCell(value, settings, digits = 3) {
    return node("td", {...settings, "data-value": value}, shown(value, digits));
  }
  // Pale to deep blue by probability, with ink that can be read on it.
  function shade(p) {
    const mix = [[255, 5], [255, 48], [255, 97]].map(([from, to]) => Math.round(from + (to - from) * p));
    return `background:rgb(${mix});color:${p > 0.45 ? "#fff" : "#1d1d1f"}`;
  }
  // Lines over whole numbers: series of {name, x, y, tag}; a gap where a value is missing.
  function lines(series, {title, x: xTitle, y: yTitle, low = 0, high = 1}) {
    const [width, height, left, right, top] = [560, 250, 48, 12, 26];
    const names = series.length * 18, bottom = 44;
    const all = series.flatMap(each => each.x), values = series.flatMap(each => each.y).filter(v => v !== null);
    const [first, last] = [Math.min(...all), Math.max(...all, Math.min(...all) + 1)];
    const [from, to] = [Math.min(low, ...values), Math.max(high, ...values)];
    const place = x => left + (x - first) / (last - first) * (width - left - right);
    const level = y => height - bottom - (y - from) / (to - from) * (height - bottom - top);
    const chart = drawn("svg", {class: "chart", viewBox: `0 0 ${width} ${height + names}`, width, role: "img",
      "aria-label": `${title}: ` + series.map(each => `${each.name} ${each.y.map(v => shown(v, 2)).join(", ")}`).join("; ")});
    chart.append(drawn("text", {x: left, y: 15, "font-weight": 600}, title));
    const step = (to - from) > 2.5 ? Math.ceil((to - from) / 5) : 0.5;
    for (let y = Math.ceil(from / step) * step; y <= to + 1e-9; y += step) {
      chart.append(drawn("path", {class: "grid", d: `M${left} ${level(y)}H${width - right}`}),
        drawn("text", {x: left - 6, y: level(y) + 4, "text-anchor": "end"}, String(Math.round(100 * y) / 100)));
    }
    const every = Math.max(1, Math.ceil((last - first) / 12));
    for (let x = first; x <= last; x += every) {
      chart.append(drawn("text", {x: place(x), y: height - bottom + 16, "text-anchor": "middle"}, String(x)));
    }
    chart.append(drawn("path", {class: "axis", d: `M${left} ${top}V${height - bottom}H${width - right}`}),
      drawn("text", {x: (left + width) / 2, y: height - 8, "text-anchor": "middle"}, xTitle),
      drawn("text", {transform: `translate(12 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle"}, yTitle));
    series.forEach((each, number) => {
      const colour = COLOURS[number % COLOURS.length];
      let path = "", open = false;
      each.y.forEach((y, i) => {
        if (y === null) { open = false; return; }
        path += `${open ? "L" : "M"}${place(each.x[i]).toFixed(1)} ${level(y).toFixed(1)}`;
        open = true;
        chart.append(drawn("circle", {cx: place(each.x[i]), cy: level(y), r: 3, fill: colour, "data-series": each.name,
          "data-x": each.x[i], "data-value": y}, drawn("title", {}, `${each.name}, layer ${each.x[i]}: ${shown(y)}`)));
      });
      const row = height + number * 18;
      const line = {stroke: colour, "stroke-width": 2, fill: "none", "stroke-dasharray": DASHES[number % DASHES.length]};
      chart.append(drawn("path", {...line, d: path}), drawn("path", {...line, d: `M${left} ${row}h30`}),
        drawn("text", {x: left + 38, y: row + 4}, each.name));
    });
    return chart;
  }
  function save(name, content, type) {
    const link = node("a", {href: URL.createObjectURL(new Blob([content], {type})), download: name});
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
  // A chart by itself: black on white, with the styles that the page gave it.
  function standalone(chart) {
    const copy = chart.cloneNode(true), box = chart.viewBox.baseVal;
    set(copy, {xmlns: "http://www.w3.org/2000/svg", width: box.width, height: box.height});
    copy.prepend(drawn("style", {}, ".grid{stroke:#ddd;fill:none}.axis{stroke:#666;fill:none}" +
      "text{fill:#222;font:12px Helvetica,Arial,sans-serif}"),
      drawn("rect", {width: box.width, height: box.height, fill: "#fff"}));
    return new XMLSerializer().serializeToString(copy);
  }
  function image(name, chart) {
    const box = chart.viewBox.baseVal, canvas = node("canvas", {width: 2 * box.width, height: 2 * box.height});
    const picture = new Image();
    picture.onload = () => {
      canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
      canvas.toBlob(made => save(`${name}.png`, made, "image/png"));
    };
    picture.src = `data:image/svg+xml,${encodeURIComponent(standalone(chart))}`;
  }
  function csv(rows) {
    // a leading =, + or @ would be a formula in a spreadsheet
    const cell = value => {
      const text = value === null || value === undefined ? "" : String(value);
      const harmless = typeof value !== "number" && /^[=+@\-\t]/.test(text) ? `'${text}` : text;
      return /[",\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
    };
    return rows.map(row => row.map(cell).join(",")).join("\n") + "\n";
  }
  function downloads(name, chart, rows) {
    const made = node("div", {class: "buttons"});
    const button = (label, act) => made.append(node("button", {type: "button", click: act,
      "aria-label": `Download ${name} as ${label}`}, `\u2193 ${label}`));
    if (chart) {
      button("SVG", () => save(`${name}.svg`, standalone(chart), "image/svg+xml"));
      button("PNG", () => image(name, chart));
    }
    if (rows) button("CSV", () => save(`${name}.csv`, csv(rows()), "text/csv"));
    return made;
  }
  function widgets(kind, fill) {
    for (const place of document.querySelectorAll(`[data-widget="${kind}"]`)) {
      fill(place, JSON.parse(place.querySelector("script").textContent));
    }
  }
  return {COLOURS, node, drawn, shown, percent, numberCell, shade, lines, downloads, csv, widgets};
})();
