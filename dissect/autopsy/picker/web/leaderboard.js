// The leaderboard: a table that sorts and filters, forgetting against utility, two checkpoints side by side.
"use strict";
dissect.widgets("leaderboard", (place, data) => {
  const {node, drawn, shown, downloads} = dissect;
  const WORDS = {"erased": ["#009E73", "circle"], "traces left": ["#56B4E9", "diamond"], "suppressed": ["#E69F00", "square"],
    "not forgotten": ["#D55E00", "up"], "broken": ["#CC79A7", "cross"], "cannot tell": ["#767676", "down"]};
  const look = word => WORDS[word] || ["#0072B2", "circle"];
  let sorted = {column: data.sort, down: false}, chosen = [];
  const search = node("input", {type: "search", id: "leaderboard-search", placeholder: "name, method", input: fill});
  const words = [...new Set(data.rows.map(row => row.word).filter(Boolean))];
  const word = node("select", {id: "leaderboard-word", change: fill}, node("option", {value: ""}, "all"),
    ...words.map(each => node("option", {value: each}, each)));
  const count = node("p", {class: "hint", role: "status"}), body = node("tbody", {}), beside = node("div", {id: "beside"});
  const heads = data.columns.map((column, i) => node("th", {scope: "col", "data-column": i}, node("button", {type: "button"}, column.label)));
  heads.forEach((head, i) => head.addEventListener("click", () => {
    sorted = {column: i, down: sorted.column === i ? !sorted.down : Boolean(data.columns[i].number)};
    fill();
  }));
  const table = node("table", {id: "leaderboard"}, node("thead", {}, node("tr", {}, node("th", {scope: "col"}, "compare"), ...heads)), body);
  place.append(node("div", {class: "tools"}, node("label", {}, "Search", search),
    words.length ? node("label", {}, "Word", word) : ""), count, node("div", {class: "scroll"}, table),
    downloads("leaderboard", null, () => [data.columns.map(column => column.label), ...rows().map(row => row.cells)]), beside);
  const chart = scatter();
  if (chart) place.append(chart, downloads("forgetting-against-utility", chart, null));

  function rows() {
    const terms = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kept = data.rows.filter(row => (!word.value || row.word === word.value)
      && terms.every(term => row.cells.join("\n").toLowerCase().includes(term)));
    const way = sorted.down ? -1 : 1, missing = value => value === null || value === undefined || value === "";
    return kept.sort((a, b) => {
      const [x, y] = [a, b].map(row => row.cells[sorted.column]);
      if (missing(x) || missing(y)) return missing(x) - missing(y);
      return way * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), undefined, {numeric: true}));
    });
  }
  function fill() {
    const kept = rows();
    heads.forEach((head, i) => head.setAttribute("aria-sort", i !== sorted.column ? "none" : sorted.down ? "descending" : "ascending"));
    count.textContent = `${kept.length} of ${data.rows.length} checkpoints. Tick two to put them side by side.`;
    body.replaceChildren(...kept.map(row => node("tr", {"data-checkpoint": row.name, class: chosen.includes(row) ? "chosen" : ""},
      node("td", {}, node("input", {type: "checkbox", "aria-label": `compare ${row.name}`, checked: chosen.includes(row),
        change: () => toggle(row)})), ...row.cells.map((value, i) => cell(row, value, data.columns[i])))));
  }
  function cell(row, value, column) {
    if (column.label === "word" && value) return node("td", {class: "word"}, node("i", {style: `background:${look(value)[0]}`}), value);
    if (typeof value === "number") return node("td", {class: "n", "data-value": value, title: row.intervals?.[column.label] || null},
      shown(value));
    return node("td", {}, value === null || value === undefined ? "" : String(value));
  }
  function toggle(row) {
    chosen = chosen.includes(row) ? chosen.filter(each => each !== row) : [...chosen.slice(-1), row];
    fill();
    if (chosen.length < 2) { beside.replaceChildren(); return; }
    const names = [...new Set(chosen.flatMap(each => Object.keys(each.detail)))];
    beside.replaceChildren(node("h3", {}, chosen.map(each => each.name).join(" beside ")), node("div", {class: "scroll"}, node("table", {},
      node("thead", {}, node("tr", {}, node("th", {}, ""), ...chosen.map(each => node("th", {}, each.name)))), node("tbody", {},
      ...data.columns.map((column, i) => [column.label, ...chosen.map(each => each.cells[i])]).concat(names.map(name =>
        [name, ...chosen.map(each => each.detail[name] ?? null)])).map(([name, ...values]) => node("tr", {}, node("th", {scope: "row"}, name),
        ...values.map(value => node("td", {"data-value": typeof value === "number" ? value : null}, typeof value === "number" ? shown(value)
          : value ?? "")))))))) ;
  }
  function mark(kind, x, y, fill) {
    const path = {square: "M-5-5h10v10h-10z", diamond: "M0-7 7 0 0 7-7 0z", up: "M0-7 6 5H-6z", down: "M0 7 6-5H-6z",
      cross: "M-6-2h4v-4h4v4h4v4h-4v4h-4v-4h-4z", circle: "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0"}[kind];
    return drawn("path", {d: path, fill, transform: `translate(${x} ${y})`});
  }
  function scatter() {
    const points = data.rows.filter(row => row.x !== null && row.y !== null && row.x !== undefined && row.y !== undefined);
    if (!points.length) return null;
    const [width, height, left, bottom, top] = [560, 360, 52, 44, 28], high = Math.max(1, ...points.flatMap(row => [row.x, row.y]));
    const [px, py] = [x => left + Math.max(0, x) / high * (width - left - 20), y => height - bottom - Math.max(0, y) / high
      * (height - bottom - top)];
    const made = drawn("svg", {class: "chart", viewBox: `0 0 ${width} ${height + 20 * Math.ceil((words.length || 1) / 3)}`, width, role: "img",
      "aria-label": `${data.y} against ${data.x}: ` + points.map(row => `${row.name} ${shown(row.x, 2)}, ${shown(row.y, 2)}`).join("; ")});
    made.append(drawn("text", {x: left, y: 15, "font-weight": 600}, "Forgetting against utility"),
      drawn("path", {class: "axis", d: `M${left} ${top}V${height - bottom}H${width - 20}`}),
      drawn("text", {x: (left + width) / 2, y: height - 6, "text-anchor": "middle"}, data.x),
      drawn("text", {transform: `translate(12 ${height / 2}) rotate(-90)`, "text-anchor": "middle"}, data.y));
    for (const value of [0, 0.5, 1]) made.append(drawn("text", {x: px(value), y: height - bottom + 16, "text-anchor": "middle"}, String(value)),
      drawn("text", {x: left - 6, y: py(value) + 4, "text-anchor": "end"}, String(value)));
    const taken = [];  // where names stand: one that would cover another moves down
    const free = (x, y, name, end) => {
      const wide = 6.6 * name.length, from = end ? x - wide : x;
      while (taken.some(other => Math.abs(other.y - y) < 12 && other.from < from + wide && from < other.to)) y += 12;
      taken.push({y, from, to: from + wide});
      return y;
    };
    for (const row of points) {
      const [colour, kind] = look(row.word), point = mark(kind, px(row.x), py(row.y), colour);
      point.append(drawn("title", {}, `${row.name}: ${row.word || ""} ${shown(row.x)}, ${shown(row.y)}`));
      point.addEventListener("click", () => toggle(row));
      const end = px(row.x) > width - 150;
      const x = px(row.x) + (end ? -9 : 9), y = free(x, py(row.y) + 4, row.name, end);
      made.append(point, drawn("text", {x, y, "text-anchor": end ? "end" : "start"}, row.name));
    }
    words.forEach((each, i) => {
      const [x, y] = [left + 170 * (i % 3), height + 10 + 20 * Math.floor(i / 3)], [colour, kind] = look(each);
      made.append(mark(kind, x, y, colour), drawn("text", {x: x + 12, y: y + 4}, each));
    });
    return made;
  }
  fill();
});
