// The fact picker: a list that can be searched, and everything that is stored of the fact that is chosen.
"use strict";
dissect.widgets("picker", (place, data) => {
  const {node, shown, percent, numberCell, shade, lines, downloads} = dissect;
  const [base, unlearned] = ["base", "unlearned"].map(name => data.models.indexOf(name));
  const key = fact => `${fact.set}:${fact.number}`;
  const all = new Map(data.facts.map(fact => [key(fact), fact]));
  const mean = ps => ps.length ? Math.exp(ps.reduce((sum, p) => sum + Math.log(Math.max(p, 1e-45)), 0) / ps.length) : null;
  const token = text => text.replace(/[\u0120\u2581]/g, " ").replace(/[\u010a\n]/g, "\\n").trim() || text || " ";
  const level = fact => unlearned < 0 ? 0 : fact.mean[unlearned];
  const same = (a, b) => a.trim().toLowerCase() === b.trim().toLowerCase();
  const starts = (said, expected) => expected.trim() !== "" && said.toLowerCase().includes(expected.trim().toLowerCase());
  for (const fact of data.facts) {
    fact.text = [fact.question, fact.expected, fact.subject, fact.group, ...fact.said].join("\n").toLowerCase();
    fact.mean = fact.p.map(mean);
    fact.answered = unlearned >= 0 && starts(fact.said[unlearned], fact.expected);
  }
  let current = null, watched = 0;

  const search = node("input", {type: "search", id: "fact-search", placeholder: "name, word, answer", input: list});
  const sets = node("select", {change: list}, ...["forget", "retain", "all"].map(name => node("option", {value: name},
    {forget: "to be forgotten", retain: "to be retained", all: "all facts"}[name])));
  const state = node("select", {change: list}, ...[["all", "all"], ["answered", "still answered"], ["lost", "no longer answered"]]
    .map(([value, text]) => node("option", {value}, text)));
  const order = node("select", {change: list}, ...[["left", "most left first"], ["least", "least left first"],
    ["number", "as in the file"], ["question", "question, A to Z"]].map(([value, text]) => node("option", {value}, text)));
  const count = node("p", {class: "hint", role: "status"});
  const facts = node("ul", {class: "facts", role: "listbox", tabindex: 0, "aria-label": "Facts", keydown: move});
  const panel = node("div", {id: "fact", role: "region", "aria-live": "polite", "aria-label": "The chosen fact"});
  const models = data.models.length > 0;
  place.append(node("div", {}, node("div", {class: "tools"}, node("label", {}, "Search", search), models ? node("label", {}, "Set", sets) : null,
    models ? node("label", {}, "Unlearned model", state) : null, node("label", {}, "Order", order)), count, facts,
    data.models.length ? node("p", {class: "hint"}, "The percentage is the share left of a fact" + (data.attack ? ` under \u201c${data.attack}\u201d, `
      + "the attack that brought most back: 100% is as the base model, 0% is chance. " : ". ") + "Arrow keys move. " + data.thinned) : null,
    downloads("facts", null, () => [["set", "number", "question", "expected", ...data.models.map(name => `${name} says`), "share left",
      ...data.models.map(name => `${name} p`)], ...matching().map(fact => [fact.set, fact.number, fact.question, fact.expected,
      ...fact.said, fact.left, ...fact.mean])])), panel);

  function rank(fact) {
    if (unlearned < 0) return 0;
    return fact.left !== null ? fact.left : fact.mean[base] ? fact.mean[unlearned] / fact.mean[base] : 0;
  }
  function matching() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kept = data.facts.filter(fact => (sets.value === "all" || fact.set === sets.value)
      && (state.value === "all" || fact.answered === (state.value === "answered")) && words.every(word => fact.text.includes(word)));
    const compare = {left: (a, b) => rank(b) - rank(a) || level(b) - level(a), least: (a, b) => rank(a) - rank(b) || level(a) - level(b), number: () => 0, question: (a, b) => a.question.localeCompare(b.question)};
    return kept.sort(compare[order.value]);
  }
  function list() {
    const kept = matching();
    count.textContent = `${kept.length} of ${data.facts.length} facts`;
    facts.replaceChildren(...kept.map(fact => node("li", {role: "option", id: `option-${key(fact)}`, "data-fact": key(fact),
      "aria-selected": String(key(fact) === current), click: () => pick(key(fact))},
      fact.left === null ? null : node("span", {class: "left", "data-value": fact.left}, percent(fact.left)),
      node("div", {class: "asked"}, fact.question),
      node("div", {class: "short"}, unlearned < 0 ? fact.expected : `${fact.expected} \u2192 ${fact.said[unlearned] || "(nothing)"}`))));
    if (!kept.length) facts.append(node("li", {"aria-disabled": "true"}, "No fact matches: shorten the search."));
  }
  function move(event) {
    const options = [...facts.querySelectorAll("[data-fact]")], at = options.findIndex(one => one.dataset.fact === current);
    const to = {ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: options.length - 1}[event.key];
    if (to === undefined || !options.length) return;
    event.preventDefault();
    const option = options[Math.max(0, Math.min(options.length - 1, to))];
    pick(option.dataset.fact);
    option.scrollIntoView({block: "nearest"});
  }
  function pick(name, follow = true) {
    const fact = all.get(name);
    if (!fact) return false;
    current = name;
    watched = 0;
    for (const option of facts.querySelectorAll("[data-fact]")) option.setAttribute("aria-selected", String(option.dataset.fact === name));
    facts.setAttribute("aria-activedescendant", `option-${name}`);
    if (follow) try { history.replaceState(null, "", `#fact=${name}`); } catch { /* a frame without an address */ }
    show(fact);
    return true;
  }
  function show(fact) {
    const left = fact.left === null ? null : node("p", {}, "Share left: ", node("b", {"data-name": "left", "data-value": fact.left},
      percent(fact.left)), ` (under \u201c${data.attack}\u201d; 100%: as the base model, 0%: chance)`);
    panel.replaceChildren(...[node("h3", {}, fact.question), node("p", {class: "hint"}, `${fact.set} fact ${fact.number}`
      + (fact.subject ? `, about ${fact.subject}` : "") + (fact.group ? `, ${fact.group}` : "")), left,
      fact.prompt.trim() === fact.question.trim() ? null
        : node("details", {}, node("summary", {}, "The whole prompt"), node("pre", {}, fact.prompt)),
      ...answers(fact), ...tokens(fact), ...choice(fact), ...lens(fact), ...curve(fact)].filter(Boolean));
  }
  function answers(fact) {
    const rows = [["expected", fact.expected, null], ...data.models.map((name, i) => [`${name} says`, fact.said[i], same(fact.said[i],
      fact.expected) || starts(fact.said[i], fact.expected)])];
    return [node("h4", {}, "What the models say"), node("table", {class: "said"}, node("tbody", {}, ...rows.map(([who, text, right]) =>
      node("tr", {}, node("th", {scope: "row"}, who), node("td", {"data-says": who.replace(" says", "")}, text || "(nothing)"),
        node("td", {}, right === null ? "" : right ? "\u2713 as expected" : "\u2717 other")))))];
  }
  function tokens(fact) {
    if (!data.models.length) return [];
    const pointer = node("p", {class: "pointer", role: "status"}, "Point at a token, or reach it with Tab, to compare the models.");
    const rows = data.models.map((name, model) => node("div", {class: "tokens", "data-tokens": name}, node("span", {class: "who"}, name),
      ...fact.tokens.map((text, i) => {
        const compare = () => { pointer.textContent = `\u201c${token(text)}\u201d: `
          + data.models.map((other, j) => `${other} ${shown(fact.p[j][i])}`).join(", "); };
        return node("span", {tabindex: 0, style: shade(fact.p[model][i]), "data-value": fact.p[model][i], mouseenter: compare,
          focus: compare, "aria-label": `${token(text)}, ${name} ${shown(fact.p[model][i])}`}, token(text),
          node("small", {}, shown(fact.p[model][i], 2)));
      })));
    return [node("h4", {}, "The expected answer, token by token"), node("p", {class: "hint"},
      "Probability of each token where the tokens before it have been read; dark is likely."), ...rows, pointer];
  }
  function choice(fact) {
    if (!fact.choice || unlearned < 0) return [];
    const {answers: texts, scores} = fact.choice, own = scores[unlearned][0];
    const places = texts.map((_, i) => i).sort((a, b) => scores[unlearned][b] - scores[unlearned][a]);
    const wins = data.attacks.map((name, i) => [name, fact.attacks[i]]).filter(([, value]) => value !== null && value !== undefined);
    const rows = () => [["answer", ...data.models], ...texts.map((text, i) => [text, ...scores.map(row => row[i])])];
    const better = scores[unlearned].slice(1).filter(value => value > own).length;
    return [node("h4", {}, "Its own answer against the others"), node("p", {}, better ? `The unlearned model prefers ${better} of `
      + `${texts.length - 1} other answers.` : `The unlearned model still prefers the right answer to all ${texts.length - 1} others.`),
      node("details", {}, node("summary", {}, "Log-probability of every answer (nats)"), node("div", {class: "scroll"},
        node("table", {class: "choice"}, node("thead", {}, node("tr", {}, node("th", {}, "answer"), ...data.models.map(name =>
          node("th", {}, name)))), node("tbody", {}, ...places.map(i => node("tr", {class: i ? "" : "own"}, node("td", {}, i ? texts[i]
          : `${texts[i]} (own)`), ...scores.map((row, j) => numberCell(row[i], {class: "number", "data-choice": `${data.models[j]}:${i}`},
          2))))))), downloads(`choice-${fact.set}-${fact.number}`, null, rows)),
      wins.length ? node("details", {}, node("summary", {}, "Comparisons won under each attack (chance 0.5)"),
        node("table", {class: "choice"}, node("tbody", {}, ...wins.map(([name, value]) => node("tr", {}, node("td", {}, name),
          numberCell(value, {class: "number", "data-attack": name})))))) : null];
  }
  function lens(fact) {
    if (!fact.lens.length || !fact.lens[0].length || !fact.lens[0][0].length) return [];
    const body = node("div", {}), n = fact.lens[0][0].length;
    const draw = () => {
      const sides = data.lensModels.map((name, model) => [name, model]).reverse(); // on a phone the first is seen
      const layers = fact.lens[0].map((_, layer) => layer).reverse();
      const chart = lines(data.lensModels.map((name, model) => ({name, x: fact.lens[model].map((_, i) => i),
        y: fact.lens[model].map(layer => layer[watched][0] / 1000)})), {title: `Probability of \u201c${token(fact.tokens[watched])}\u201d`,
        x: "after layer", y: "probability"});
      const rows = () => [["layer", ...data.lensModels.flatMap(name => [`${name} reads`, `${name} p`, `${name} p of the answer`])],
        ...layers.map(layer => [layer, ...data.lensModels.flatMap((_, model) => { const [p, best, id] = fact.lens[model][layer][watched];
          return [data.vocabulary[id], best / 1000, p / 1000]; })])];
      body.replaceChildren(chart, downloads(`lens-${fact.set}-${fact.number}`, chart, rows), node("div", {class: "scroll"},
        node("table", {class: "lens"}, node("thead", {}, node("tr", {}, node("th", {}, "layer"), ...sides.flatMap(([name]) =>
          [node("th", {}, `${name} reads`), node("th", {title: "probability of the expected token"}, "p")]))), node("tbody", {}, ...layers.map(layer =>
          node("tr", {}, node("th", {scope: "row"}, String(layer)), ...sides.flatMap(([name, model]) => {
            const [p, best, id] = fact.lens[model][layer][watched], text = data.vocabulary[id];
            return [node("td", {class: text === fact.tokens[watched] ? "right" : "", title: `p ${shown(best / 1000)}`}, token(text)),
              node("td", {class: "p", style: shade(p / 1000), "data-lens": `${name}:${layer}`, "data-value": p / 1000}, shown(p / 1000))];
          })))))));
    };
    draw();
    const chosen = n < 2 ? null : node("label", {}, "Token of the answer: ", node("select", {id: "lens-token",
      change: event => { watched = Number(event.target.value); draw(); }}, ...Array.from({length: n}, (_, i) =>
      node("option", {value: i}, `${i + 1}: ${token(fact.tokens[i])}`))));
    return [node("h4", {}, "What each layer would say (logit lens)"), node("p", {class: "hint"},
      "The state after each layer read as if it were the last. Bold: the token of the expected answer; p: its probability."), chosen, body];
  }
  function curve(fact) {
    const title = node("h4", {}, "What brings it back, layer by layer");
    const names = Object.keys(fact.curve);
    if (!names.length) return fact.set === "forget" && Object.keys(data.curves).length ? [title, node("p", {class: "hint"},
      "The sweeps over layers did not run on this fact (--max-facts).")] : [];
    const series = names.map(name => ({name, x: data.curves[name], y: fact.curve[name].map(value => value)}));
    const chart = lines(series, {title: "Recovery of this fact (KRS)", x: "centre layer", y: "recovery", low: 0, high: 1});
    const rows = () => [["component", "layer", "recovery"], ...series.flatMap(each => each.y.map((y, i) => [each.name, each.x[i], y]))];
    return [title, node("p", {class: "hint"}, "Parts of the base model put into the unlearned one: 1 is the base model's logits back, 0 is no "
      + "change. Late activations carry the base model's answer and prove little."), node("div", {"data-curve": ""}, chart),
      downloads(`curve-${fact.set}-${fact.number}`, chart, rows)];
  }
  function fromAddress() {
    const asked = /^#fact=(.+)$/.exec(location.hash);
    if (!asked) return false;
    let name = asked[1];
    try { name = decodeURIComponent(name); } catch { /* as it is */ }
    if (!all.has(name)) return false;
    if (sets.value !== "all" && all.get(name).set !== sets.value) { sets.value = all.get(name).set; list(); }
    pick(name, false);
    document.querySelector(`[data-fact="${CSS.escape(name)}"]`)?.scrollIntoView({block: "nearest"});
    panel.scrollIntoView({block: "start"});
    return true;
  }
  if (!data.facts.some(fact => fact.set === "forget")) sets.value = "all";
  list();
  addEventListener("hashchange", fromAddress);
  if (!fromAddress()) { const first = facts.querySelector("[data-fact]"); if (first) pick(first.dataset.fact, false); }
});
